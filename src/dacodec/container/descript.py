"""Descript's ``.dac`` files, read without running code.

Such a file is a NumPy pickle: the header of an .npy file with an object array of no dimensions, then a pickle of a dict
with ``codes`` (uint16 [C, K, F]) and ``metadata`` (descript-audio-codec 1.0.0, ``dac/model/base.py``). A pickle is a
program that may import and call anything; this unpickler allows four names of NumPy and nothing else.
"""

from __future__ import annotations

import ast
import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacodec.errors import FormatError

VERSION = "1.0.0"
MAX_BYTES = 2**30
# Where NumPy has kept them: numpy.core before 2.0, numpy._core since.
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
}


@dataclass(frozen=True, eq=False)
class DescriptFile:
    """The contents of a ``.dac`` file.

    Args:
        codes: uint16 [C, K, F].
        sampling_rate: in Hz, of the original audio.
        n_samples: of the original audio.
        input_db: its loudness in LUFS, which decoding restores.
        chunk_frames: frames that were coded together, and must be decoded together.
        is_padded: coded whole, with the convolutions' padding; otherwise in chunks without it.
    """

    codes: NDArray[np.uint16]
    sampling_rate: int
    n_samples: int
    input_db: float
    chunk_frames: int
    is_padded: bool


def read_descript(data: bytes) -> DescriptFile:
    """Read a ``.dac`` file without running code.

    Raises:
        FormatError: for anything that Descript's writer would not write.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"a .dac file of more than {MAX_BYTES} bytes")
    try:
        content = _Unpickler(io.BytesIO(_pickle_in(data))).load()
    except FormatError:
        raise
    except Exception as error:  # a broken or hostile pickle can raise anything
        raise FormatError(f"not one of Descript's .dac files: {type(error).__name__}") from None
    return _checked(content)


class _Unpickler(pickle._Unpickler):  # the Python one: the C one trusts sizes in the file when it allocates
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise FormatError(f"a .dac file that wants to call {module}.{name}: an attack, or not Descript's")
        return _Name(name)

    def persistent_load(self, pid: Any) -> Any:
        raise FormatError("a .dac file that refers to something outside")


class _Name:
    """Stands in for what a pickle names: it can be called but not changed."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "dtype":
            return _Dtype(*arguments)
        if self.name == "_reconstruct":
            return _Array()
        if self.name == "scalar":
            dtype, data = arguments
            return _numbers(dtype, data)[0]
        raise FormatError(f"a .dac file that calls numpy.{self.name}")

    def __setstate__(self, state: Any) -> None:
        raise FormatError("a .dac file that changes what it names")


class _Dtype:
    """Stands in for a dtype: a letter, a size and a byte order, nothing nested."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u2", "f4", "f8", "i8", "O8"):
            raise FormatError("a .dac file with numbers of a type that Descript does not write")
        self.name = name
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Array:
    """Stands in for an array: NumPy's own ``__setstate__`` trusts the pickle."""

    value: Any = None  # an array of numbers, or the one object of an array of objects

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if shape == () and dtype.name == "O8":
            (self.value,) = data
        else:
            self.value = _numbers(dtype, data).reshape(shape, order="F" if is_fortran else "C")


def _numbers(dtype: Any, data: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or dtype.name == "O8" or not isinstance(data, bytes):
        raise FormatError("a .dac file with objects where numbers should be")
    return np.frombuffer(data, dtype.order + dtype.name)


def _pickle_in(data: bytes) -> bytes:
    """The pickle behind the header of an .npy file, versions 1 to 3 of that format."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise FormatError("not one of Descript's .dac files", 0)
    length_bytes = 2 if data[6] == 1 else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(data[8:start], "little")
    header = ast.literal_eval(data[start:end].decode("latin-1"))
    if header != {"descr": "|O", "fortran_order": False, "shape": ()}:
        raise FormatError("not one of Descript's .dac files: an array of something else", start)
    return data[end:]


def _checked(content: Any) -> DescriptFile:
    """Check types first, so that nothing of unknown size is printed or compared."""
    content = content.value if isinstance(content, _Array) else None
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
        raise FormatError("not one of Descript's .dac files: no codes and metadata in it")
    codes, metadata = content.get("codes"), content["metadata"]
    version = metadata.get("dac_version")
    if not isinstance(version, str) or version != VERSION:
        raise FormatError(f"a .dac file of another version than {VERSION}")
    array = codes.value if isinstance(codes, _Array) else None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "u" or array.ndim != 3:
        raise FormatError("a .dac file whose codes are not an array [channels, codebooks, frames]")
    if _integer(metadata, "channels") != len(array):
        raise FormatError(f"a .dac file of {metadata['channels']} channels with codes of {len(array)}")
    return DescriptFile(
        codes=array.astype(np.uint16),
        sampling_rate=_integer(metadata, "sample_rate"),
        n_samples=_integer(metadata, "original_length"),
        input_db=_number(metadata.get("input_db")),
        chunk_frames=_integer(metadata, "chunk_length"),
        is_padded=metadata.get("padding") is True,
    )


def _integer(metadata: dict[Any, Any], name: str) -> int:
    value = metadata.get(name)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**53:
        raise FormatError(f"a .dac file whose {name} is not an integer, or out of bounds")
    return int(value)


def _number(value: Any) -> float:
    value = value.value if isinstance(value, _Array) else value
    numbers = np.ravel(value) if isinstance(value, np.ndarray | np.number | float) else np.empty(0)
    if numbers.size != 1 or not np.isfinite(numbers[0]):
        raise FormatError("a .dac file whose input_db is not one number")
    return float(numbers[0])
