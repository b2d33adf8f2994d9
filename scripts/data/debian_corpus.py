"""Build a free corpus from Debian packages by name: sounds that anyone may use, with their licences.

    python scripts/data/debian_corpus.py debian_files.tsv.gz --out data/debian [--package NAME ...] [--split train]

The table (split, pool, package, path, seconds, rate, channels, coding, licence) says which files of which packages are
used, for what, and under which licence. Packages are fetched with ``apt-get download`` and unpacked, never
installed. The result is a folder per package with FLAC files and a ``files.tsv``, as ``dacodec train`` reads
it. Rows of other splits are left out: those marked ``val`` and ``reserved`` are never trained on.

Needs Debian or Ubuntu (apt-get, dpkg), and PyAV for G.722, which dacodec brings.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from dacodec.audio import Audio, read, write
from dacodec.errors import AudioError
from dacodec.files import new_file

COLUMNS = ("file", "split", "pool", "source", "seconds", "source_rate", "licence")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--package", nargs="*", help="only these")
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    packages = defaultdict(list)
    with gzip.open(args.table, "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["split"] == args.split and (not args.package or row["package"] in args.package):
                packages[row["package"]].append(row)
    for package, rows in sorted(packages.items()):
        folder = args.out / package
        if (folder / "files.tsv").exists():
            continue  # written last: this package is complete
        try:
            collect(package, rows, folder)
        except subprocess.CalledProcessError as error:
            print(f"{package}: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def collect(package: str, rows: list[dict[str, str]], folder: Path) -> None:
    """Fetch one package and keep its files, as FLAC at their own rate."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    with tempfile.TemporaryDirectory() as temporary:
        root = unpack(package, Path(temporary))
        for row in rows:
            name = row["path"].strip("/").removeprefix("usr/share/").replace("/", "_")
            try:
                audio = decode(root / row["path"].lstrip("/"), row)
            except (AudioError, OSError) as error:
                print(f"{package}: skipped {row['path']}: {error}", file=sys.stderr)
                continue
            write(folder / f"{name}.flac", audio.samples, audio.sampling_rate)
            seconds = audio.samples.shape[1] / audio.sampling_rate
            kept.append(
                (
                    f"{name}.flac",
                    row["split"],
                    row["pool"],
                    package,
                    f"{seconds:.3f}",
                    str(audio.sampling_rate),
                    row["licence"],
                )
            )
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([COLUMNS, *kept])
    with new_file(folder / "files.tsv", overwrite=True) as file:
        file.write(text.getvalue().encode())
    print(f"{package}: {len(kept)} of {len(rows)} files, {sum(float(row[4]) for row in kept) / 60:.1f} min")


def unpack(package: str, folder: Path) -> Path:
    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)

    run("apt-get", "download", "-q", package)
    [archive] = folder.glob("*.deb")
    run("dpkg", "-x", archive.name, "root")
    return folder / "root"


def decode(path: Path, row: dict[str, str]) -> Audio:
    if row["coding"] != "G722":
        return read(path)
    import av  # raw G.722 has no header that could be recognised

    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate(frames, axis=1)
    return Audio((samples / 32768).astype(np.float32), int(row["rate"]))


if __name__ == "__main__":
    main()
