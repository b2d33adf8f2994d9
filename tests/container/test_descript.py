"""Descript's pickled files: those of its writer are read, and code in any file is never run."""

import io
import os
import pickle
import re
import struct
from contextlib import suppress

import numpy as np
import pytest

from dacodec.container.descript import read_descript
from dacodec.errors import FormatError

CODES = np.arange(2 * 3 * 5, dtype=np.uint16).reshape(2, 3, 5)
METADATA = {
    "input_db": np.array([-20.5], np.float32),
    "original_length": 2500,
    "sample_rate": 44100,
    "chunk_length": 5,
    "channels": 2,
    "padding": True,
    "dac_version": "1.0.0",
}


def saved(content, **options):
    """As saved by descript-audio-codec 1.0.0 (dac/model/base.py, DACFile.save)."""
    file = io.BytesIO()
    np.save(file, content, **options)
    return file.getvalue()


def dac(codes=CODES, **metadata):
    return saved({"codes": codes, "metadata": {**METADATA, **metadata}})


def test_what_descripts_writer_wrote():
    file = read_descript(dac())
    np.testing.assert_array_equal(file.codes, CODES)
    assert file.codes.dtype == np.uint16
    assert (file.sampling_rate, file.n_samples, file.chunk_frames, file.is_padded) == (44100, 2500, 5, True)
    assert file.input_db == -20.5


@pytest.mark.parametrize(
    "codes", [np.asfortranarray(CODES), CODES.astype(">u2"), CODES[:, ::2], CODES[:, :, :0]]
)
def test_any_layout_of_memory(codes):
    np.testing.assert_array_equal(read_descript(dac(codes)).codes, codes)


@pytest.mark.parametrize("value", [-20.5, np.float32(-20.5), np.array(-20.5), np.array([[-20.5]])])
def test_any_form_of_a_number(value):
    assert read_descript(dac(input_db=value, sample_rate=np.int64(44100))).input_db == -20.5


def unframed(data, protocol):
    """Without the frames of protocol 4, whose lengths no longer hold."""
    return data[:2] + data[11:] if protocol == 4 else data


@pytest.mark.parametrize("protocol", [3, 4])
def test_names_of_older_numpy(protocol):
    header = saved(np.array({}, object))
    header = header[: header.index(b"\n") + 1]
    array = np.array({"codes": CODES, "metadata": METADATA}, object)
    data = pickle.dumps(array, protocol)
    for core in (b"_core", b"core"):
        names_module = b"numpy." + core + b".multiarray"
        other = re.sub(rb"numpy\._?core\.multiarray", names_module, data)
        other = re.sub(rb"\x8c.(?=numpy\._?core\.multiarray)", b"\x8c" + bytes([len(names_module)]), other)
        np.testing.assert_array_equal(read_descript(header + unframed(other, protocol)).codes, CODES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\1\0\xff\xff",
        saved(CODES),
        saved(np.array([{}], object)),
        saved({}),
        saved([1]),
        saved({"codes": CODES}),
        saved({"codes": CODES, "metadata": []}),
        dac(dac_version="1.0.1"),
        dac(dac_version=None),
        dac(channels=3),
        dac(channels=True),
        dac(sample_rate=-1),
        dac(sample_rate="44100"),
        dac(original_length=2**60),
        dac(input_db=np.array([np.nan], np.float32)),
        dac(input_db=np.array([1.0, 2.0])),
        dac(input_db=None),
        dac(CODES[0]),
        dac(CODES.astype(np.float32)),
        dac(CODES.astype(np.int64)),
        dac([[[1]]]),
        dac(np.array([[[{}]]], object)),
        dac()[:-1],
        dac()[:300],
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(FormatError):
        read_descript(data)


# Attacks

HEADER = saved({})[: saved({}).index(b"\n") + 1]


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def marker(tmp_path):
    return tmp_path / "the file's code was run"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("place", ["outside", "codes", "metadata", "key"])
def test_code_in_the_file_is_not_run(tmp_path, protocol, place):
    bomb = Runs(os.mkdir, str(marker(tmp_path)))
    content = {
        "outside": bomb,
        "codes": {"codes": bomb, "metadata": METADATA},
        "metadata": {"codes": CODES, "metadata": {**METADATA, "x": bomb}},
        "key": {bomb: 1},
    }[place]
    data = pickle.dumps(content, protocol)
    with pytest.raises(FormatError, match="wants to call"):
        read_descript(HEADER + data)
    assert not marker(tmp_path).exists()
    pickle.loads(data)  # this does run it
    assert marker(tmp_path).exists()


def names(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


RECONSTRUCT = names("numpy._core.multiarray", "_reconstruct")
ARRAY = RECONSTRUCT + b"(" + names("numpy", "ndarray") + b"K\0\x85C\1btR"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (names("os", "system") + b"(S'true'\ntR.", "os.system"),
        (names("builtins", "eval") + b"(S'1'\ntR.", "builtins.eval"),
        (names("builtins", "getattr") + b".", "builtins.getattr"),
        (names("numpy", "load") + b".", "numpy.load"),
        (names("numpy", "ndarray.tofile") + b".", "numpy.ndarray.tofile"),
        (names("numpy._core.multiarray", "fromfile") + b".", "fromfile"),
        (names("numpy.testing._private.utils", "runstring") + b".", "runstring"),
        (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),  # via the stack
        (b"\x82\x01.", "ValueError"),  # by a number registered with copyreg
        (b"Pelsewhere\n.", "outside"),
        # Changing or misusing permitted names
        (RECONSTRUCT + b"}S'__doc__'\nS'x'\nsb.", "changes what it names"),
        (names("numpy", "dtype") + b"}S'x'\nS'y'\nsb.", "changes what it names"),
        (names("numpy", "ndarray") + b")R.", "calls numpy.ndarray"),
        (names("numpy", "ndarray") + b")\x81.", "TypeError"),
        (names("numpy", "dtype") + b"(S'O'\ntR.", "type that Descript does not write"),
        (ARRAY + b"}S'value'\nK\1sb.", "ValueError"),
        # Bombs
        (b"r\xff\xff\xff\x7f.", "IndexError"),  # a memo of 2^31 places
        (b"\x8e" + struct.pack("<Q", 2**62) + b"x.", "EOFError"),
        (b"\x8b\xff\xff\xff\x7f1.", "EOFError"),
        (b"\x95" + struct.pack("<Q", 2**62) + b".", "IndexError"),
        (b"(" * 100_000 + b".", "no codes|IndexError"),
        (b"]" + b"2e" * 10 + b".", "Error"),
    ],
)
def test_attacks_by_hand(program, reason):
    with pytest.raises(FormatError, match=reason):
        read_descript(HEADER + program)


def test_a_list_that_would_fill_the_memory_if_printed():
    """Forty doublings: harmless unless something expands all of it."""
    doubling = []
    for _ in range(40):
        doubling = [doubling, doubling]
    for name in METADATA:
        with pytest.raises(FormatError) if name != "padding" else io.BytesIO():
            read_descript(dac(**{name: doubling}))


def test_random_changes_raise_nothing_else():
    random = np.random.default_rng(0)
    data = bytearray(dac())
    for _ in range(3000):
        changed = bytearray(data)
        for position in random.integers(len(HEADER), len(data), random.integers(1, 4)):
            changed[position] = random.integers(256)
        with suppress(FormatError):
            read_descript(bytes(changed))
