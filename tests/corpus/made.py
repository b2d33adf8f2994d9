"""Small sources of every kind, with known content."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16000


def sound(seconds, seed=0, channels=1, rate=RATE):
    """Noise [T, C], exact in int16."""
    noise = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return np.round(noise * 3000).astype(np.int16)


def wav(seconds=0.1, seed=0, channels=1, rate=RATE, format="WAV"):
    file = io.BytesIO()
    soundfile.write(file, sound(seconds, seed, channels, rate), rate, format=format, subtype="PCM_16")
    return file.getvalue()


def folder(path, n=3, seconds=0.1):
    """``n`` recordings, a.wav, sub/b.flac, c.wav, ..."""
    for i in range(n):
        name = f"{chr(97 + i)}.wav" if i % 2 == 0 else f"sub/{chr(97 + i)}.flac"
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(wav(seconds, i, format=file.suffix[1:].upper()))
    return path


def tar(path, n=3, seconds=0.1, first=0):
    with tarfile.open(path, "w") as archive:
        for i in range(first, first + n):
            members = {
                "wav": wav(seconds, i),
                "txt": f"text {i}".encode(),
                "json": json.dumps({"id": i}).encode(),
                "npy": b"\xff\xfe",
            }
            for extension, content in members.items():
                info = tarfile.TarInfo(f"sp/{i:03}.{extension}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def parquet(path, n=3, seconds=0.1, with_bytes=True, group=2):
    audio = [{"bytes": wav(seconds, i) if with_bytes else None, "path": f"{i}.wav"} for i in range(n)]
    if not with_bytes:
        for i in range(n):
            (path.parent / f"{i}.wav").write_bytes(wav(seconds, i))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "audio": pa.array(audio, kind),
            "text": [f"text {i}" for i in range(n)],
            "duration": [seconds] * n,
            "tags": [["x"] * i for i in range(n)],
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return path
