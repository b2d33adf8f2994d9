"""Every kind of source gives its recordings with their bytes and columns."""

import json
import os
from contextlib import closing

import fsspec
import made
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dacodec.audio import read
from dacodec.corpus.items import Unlisted
from dacodec.corpus.sources import Sources
from dacodec.errors import AudioError, InputError


def items(*names, **options):
    return list(Sources([str(name) for name in names], **options).items())


def keys(*names, **options):
    return [item.key for item in items(*names, **options)]


def by_key(item):
    return item.key


def samples(item):
    with item.place.open() as file:
        return read(file).samples


def expected(seed, seconds=0.1):
    return made.sound(seconds, seed).T.astype(np.float32) / 32768


def test_a_folder_with_all_below_it(tmp_path):
    made.folder(tmp_path)
    (tmp_path / ".hidden.wav").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "sub" / "link.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "circle").symlink_to(tmp_path)
    assert keys(tmp_path) == ["a.wav", "c.wav", "sub/b.flac", "sub/link.wav"]
    for item, seed in zip(items(tmp_path), [0, 2, 1, 0], strict=True):
        assert np.array_equal(samples(item), expected(seed))


def test_files_globs_and_whole_keys(tmp_path):
    made.folder(tmp_path)
    assert keys(tmp_path / "a.wav", tmp_path / "sub" / "*.flac") == ["a.wav", "b.flac"]
    assert keys(tmp_path / "**" / "*.flac") == ["sub/b.flac"]
    assert keys(tmp_path / "a.wav", whole_keys=True) == [str(tmp_path / "a.wav")]
    assert keys(f"file://{tmp_path}/a.wav") == ["a.wav"]
    (tmp_path / "[a].wav").write_bytes(made.wav())
    assert keys(tmp_path / "[a].wav") == ["[a].wav"]


def test_tars_with_the_texts_of_each_sample(tmp_path):
    made.tar(tmp_path / "x.tar")
    found = items(tmp_path)
    assert [item.key for item in found] == [f"x.tar/sp/{i:03}.wav" for i in range(3)]
    for i, item in enumerate(found):
        assert item.columns == {"txt": f"text {i}", "json": json.dumps({"id": i})}
        assert np.array_equal(samples(item), expected(i))
    assert Sources([str(tmp_path)]).fields() == {"txt": pa.string(), "json": pa.string()}


def test_a_truncated_tar_gives_what_comes_before(tmp_path):
    path = made.tar(tmp_path / "x.tar")
    path.write_bytes(path.read_bytes()[:-14000])
    *whole, rest = items(path)
    assert 0 < len(whole) < 3
    assert isinstance(rest, Unlisted)
    assert "the rest of the tar cannot be read" in rest.reason


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(600)])
def test_a_file_that_is_not_a_tar(content, tmp_path):
    (tmp_path / "x.tar").write_bytes(content)
    [one] = items(tmp_path)
    assert isinstance(one, Unlisted)
    assert one.key == "x.tar"


def test_a_tar_without_audio(tmp_path):
    made.tar(tmp_path / "x.tar", n=0)
    with pytest.raises(InputError, match=r"no audio in .*x\.tar"):
        items(tmp_path / "x.tar")


@pytest.mark.parametrize("with_bytes", [True, False])
def test_parquet_with_hugging_faces_audio(with_bytes, tmp_path):
    path = made.parquet(tmp_path / "x.parquet", n=5, with_bytes=with_bytes)
    found = items(path)
    assert [item.key for item in found] == [f"x.parquet/{i}" for i in range(5)]
    for i in [0, 1, 4, 3, 2, 2]:  # forward, and back
        assert found[i].columns == {"text": f"text {i}", "source_duration": 0.1, "tags": ["x"] * i}
        assert np.array_equal(samples(found[i]), expected(i))
    fields = Sources([str(path)]).fields()
    assert fields == {"text": pa.string(), "source_duration": pa.float64(), "tags": pa.list_(pa.string())}


def test_parquet_with_a_column_of_paths_or_bytes(tmp_path):
    made.folder(tmp_path)
    pq.write_table(pa.table({"n": [1, 2], "path": ["a.wav", "sub/b.flac"]}), tmp_path / "p.parquet")
    pq.write_table(pa.table({"sound": [made.wav(seed=3)]}), tmp_path / "b.parquet")
    for i, item in enumerate(items(tmp_path / "p.parquet")):
        assert item.columns == {"n": i + 1}
        assert np.array_equal(samples(item), expected(i))
    with pytest.raises(InputError, match="among sound; say which it is"):
        Sources([str(tmp_path / "b.parquet")]).fields()
    [item] = items(tmp_path / "b.parquet", audio_column="sound")
    assert np.array_equal(samples(item), expected(3))


def test_an_empty_cell_and_a_file_that_is_not_parquet(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"audio": pa.array([None, {"bytes": made.wav(), "path": None}], kind)})
    pq.write_table(table, tmp_path / "x.parquet")
    empty, good = items(tmp_path / "x.parquet")
    with pytest.raises(AudioError, match="no audio"):
        samples(empty)
    assert np.array_equal(samples(good), expected(0))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "y.parquet").write_bytes(b"PAR1 no more")
    [one] = items(tmp_path / "bad")
    assert isinstance(one, Unlisted)


def test_a_list_in_jsonl_with_parts(tmp_path):
    made.folder(tmp_path)
    lines = [
        {"audio_filepath": "a.wav", "text": "one", "duration": 0.1, "n": 1},
        {"audio_filepath": "a.wav", "offset": 0.02, "duration": 0.03, "n": 2.5, "more": {"x": 1}},
        {"audio_filepath": str(tmp_path / "c.wav"), "offset": 0.02},
        {"audio_filepath": "gone.wav"},
        {"audio_filepath": "a.wav", "offset": "later"},
        {"text": "of nothing"},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), "", "no json"]))
    found = items(path)
    parts = [(i.key, i.start_seconds, i.duration_seconds) for i in found[:3]]
    assert parts == [
        ("a.wav", None, None),
        ("a.wav@0.02+0.03", 0.02, 0.03),
        (f"{tmp_path / 'c.wav'}@0.02", 0.02, None),
    ]
    assert [(u.key, u.reason) for u in found[3:]] == [
        ("x.jsonl, line 4", f"cannot read {tmp_path / 'gone.wav'}: there is no such file"),
        ("x.jsonl, line 5", "'later' is not a time in seconds"),
        ("x.jsonl, line 6", found[5].reason),
        ("x.jsonl, line 7", "it is not a JSON object"),
    ]
    assert "no column" in found[5].reason
    fields = Sources([str(path)]).fields()
    assert (fields["n"], fields["source_duration"], fields["more"]) == (
        pa.float64(),
        pa.float64(),
        pa.string(),
    )
    assert found[0].columns["n"] == 1.0
    assert found[1].columns["more"] == '{"x": 1}'


@pytest.mark.parametrize(("suffix", "comma"), [(".csv", ","), (".tsv", "\t")])
def test_a_list_in_csv(suffix, comma, tmp_path):
    made.folder(tmp_path)
    path = tmp_path / f"x{suffix}"
    path.write_text(f"id{comma}file_name\n007{comma}a.wav\n8{comma}sub/b.flac\n")
    first, second = items(path)
    assert (first.key, first.columns) == ("a.wav", {"id": "007"})
    assert np.array_equal(samples(second), expected(1))
    assert Sources([str(path)]).fields() == {"id": pa.string()}


def test_urls_are_like_paths(tmp_path):
    made.folder(tmp_path)
    made.tar(tmp_path / "t.tar")
    made.parquet(tmp_path / "p.parquet")
    (tmp_path / "l.jsonl").write_text('{"path": "a.wav", "start": 0.05}\n')
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/", "memory://corpus/", recursive=True)
    try:
        for name in ("", "t.tar", "p.parquet", "l.jsonl", "*.wav", "a.wav"):
            local = sorted(items(tmp_path / name if name else tmp_path), key=by_key)
            remote = sorted(items(f"memory://corpus/{name}".rstrip("/")), key=by_key)
            assert [i.key for i in remote] == [i.key for i in local]
            assert [i.columns for i in remote] == [i.columns for i in local]
            assert all(i.stamp for i in remote)
            for mine, theirs in zip(remote, local, strict=True):
                assert np.array_equal(samples(mine), samples(theirs))
        with pytest.raises(InputError, match="there is no memory://corpus/gone"):
            items("memory://corpus/gone")
    finally:
        memory.rm("/corpus", recursive=True)


def test_over_http(tmp_path):
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    made.folder(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    with closing(server.socket):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        [item] = items(f"http://127.0.0.1:{server.server_port}/sub/b.flac")
        assert item.key == "b.flac"
        assert np.array_equal(samples(item), expected(1))
        server.shutdown()


def test_a_changed_file_has_another_stamp(tmp_path):
    made.folder(tmp_path)
    before = {item.key: item.stamp for item in items(tmp_path)}
    os.utime(tmp_path / "a.wav", (0, 0))
    after = {item.key: item.stamp for item in items(tmp_path)}
    assert [key for key in before if before[key] != after[key]] == ["a.wav"]


def test_missing_sources(tmp_path):
    for name in ("gone", "gone/*.wav"):
        with pytest.raises(InputError, match="no"):
            items(tmp_path / name)
    with pytest.raises(InputError, match="cannot list nowhere://x"):
        items("nowhere://x")


def test_columns_that_differ_between_sources(tmp_path):
    made.folder(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"path": "a.wav", "label": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"path": "c.wav", "label": "one"}\n')
    with pytest.raises(InputError, match=r"'label'.*int64|'label'.*string"):
        Sources([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]).fields()
