"""Shards can be read with common tools, without this package."""

import io
import json
import subprocess
import sys
import tarfile

import inline
import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacodec import Codec, Encoded
from dacodec.audio import read
from dacodec.corpus.forms import file_name, sample_name
from dacodec.corpus.rows import codes_column, codes_of, row_of
from dacodec.corpus.settings import Settings
from dacodec.corpus.tokenizing import tokenize
from dacodec.encoded import Model
from dacodec.errors import FormatError

MODEL = Model("m", bytes(32), 16000, 320, 1024)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    made.parquet(folder / "x.parquet", n=3, seconds=0.3)
    return folder


@pytest.fixture(scope="module")
def expected(corpus):
    codec = Codec.from_pretrained("builtin")
    rows = pq.read_table(corpus / "x.parquet").to_pylist()
    coded = [codec.encode(*read(io.BytesIO(row["audio"]["bytes"])), n_quantizers=4) for row in rows]
    return {f"x.parquet/{i}": one for i, one in enumerate(coded)}


def tokens(corpus, form):
    output = corpus / form
    if not output.exists():
        tokenize(corpus / "x.parquet", output, form=form, settings=Settings(n_quantizers=4), run=inline.run)
    return output


# Programs that read the rows at `path`.
READERS = {
    "pyarrow": "import pyarrow.parquet as pq; rows = pq.read_table(path).to_pylist()",
    "polars": "import polars; rows = polars.read_parquet(path).to_dicts()",
    "duckdb": (
        "import duckdb; names = ['key', 'codes', 'text', 'tags', 'n_samples', 'model']\n"
        "q = f\"select {', '.join(names)} from '{path}'\"\n"
        "rows = [dict(zip(names, row)) for row in duckdb.sql(q).fetchall()]"
    ),
    "datasets": (
        "import datasets, tempfile\nwith tempfile.TemporaryDirectory() as cache:\n"
        "    rows = list(datasets.load_dataset('parquet', data_files=path, split='train', cache_dir=cache))"
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_parquet_is_read_by(reader, corpus, expected):
    path = next((tokens(corpus, "parquet") / "shards").iterdir())
    program = (
        f"path = {str(path)!r}\n{READERS[reader]}\nimport json, sys\n"
        "assert not {'dacodec', 'ray'} & set(sys.modules)\n"
        "print(json.dumps([{n: row[n] for n in ('key', 'codes', 'text', 'tags', 'n_samples')} for row in rows]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout.splitlines()[-1])
    assert [row["key"] for row in rows] == list(expected)
    for i, row in enumerate(rows):
        codes = expected[row["key"]].codes[0]
        assert (len(row["codes"]), row["text"], row["tags"]) == (4, f"text {i}", ["x"] * i)
        assert np.array_equal(row["codes"], codes)
        assert row["n_samples"] == 4800


def test_the_type_of_codes_is_plain(corpus):
    schema = pq.read_schema(next((tokens(corpus, "parquet") / "shards").iterdir()))
    assert schema.field("codes").type == pa.list_(pa.list_(pa.uint16()))
    assert not schema.metadata


def test_tars_are_webdatasets(corpus, expected):
    with tarfile.open(next((tokens(corpus, "tar") / "shards").iterdir())) as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [f"x.parquet/{i}.{e}" for i in range(3) for e in ("npy", "json")]
        for array, about in zip(members[::2], members[1::2], strict=True):
            values = json.loads(tar.extractfile(about).read())
            codes = np.load(io.BytesIO(tar.extractfile(array).read()))
            assert codes.dtype == np.uint16
            assert np.array_equal(codes, expected[values["key"]].codes[0])
            assert values["text"].startswith("text ")


def test_dacz_files_are_recordings(corpus, expected):
    output = tokens(corpus, "dacz")
    table = pq.read_table(output / "shards").to_pylist()
    assert [row["text"] for row in table] == [f"text {i}" for i in range(3)]
    for row in table:
        assert np.array_equal(Encoded.load(output / row["file"]).codes, expected[row["key"]].codes)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), max_size=6), st.randoms(use_true_random=False)
)
@settings(deadline=None)
def test_codes_go_into_lists_and_back(shapes, random):
    arrays = [
        np.array([[random.randrange(1 << 16) for _ in range(f)] for _ in range(k)], np.uint16).reshape(k, f)
        for k, f in shapes
    ]
    column = codes_column(arrays)
    column.validate(full=True)
    assert column.to_pylist() == [a.tolist() for a in arrays]
    back = list(codes_of(column))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(arrays[1:], codes_of(column[1:]), strict=True))


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        ([[[1, 2], [3]]], "codebooks of one row"),
        ([None, [[1]]], "no codes"),
        ([[None], [[1]]], "no codes"),
        ([[[1, None]]], "a code is missing"),
        ([[1]], "lists of lists"),
    ],
)
def test_columns_that_are_not_codes(codes, why):
    with pytest.raises(FormatError, match=why):
        list(codes_of(pa.array(codes)))


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, [[1024]]),
        ({"channels": 2}, [[1]]),
        ({"channels": 0}, [[1]]),
        ({"fingerprint": "x"}, [[1]]),
        ({"key": None, "n_samples": "many"}, [[1]]),
        ({}, [[0.5]]),
    ],
)
def test_rows_that_are_not_valid(changes, codes):
    with pytest.raises(FormatError, match="is not a row of tokens"):
        row_of({"key": "x"} | changes, np.array(codes), MODEL)


KEYS = st.text(st.sampled_from("a.%/\\\0é~"), max_size=8)


@given(KEYS, KEYS)
def test_file_names_are_unique_to_their_key_and_stay_in_their_folder(one, other):
    for name in (file_name, sample_name):
        assert (name(one) == name(other)) == (one == other)
        parts = name(one).split("/")
        assert not {"", ".", ".."} & set(parts)
    assert "." not in sample_name(one).rpartition("/")[2]


def test_long_names_are_shortened():
    long = ["é" * n + end for n in (150, 300) for end in "ab"]
    assert len(set(map(file_name, long))) == 4
    assert all(len(file_name(name).encode()) <= 200 for name in long)
