"""``-``: standard input and output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import typer

from dacodec.errors import AudioError, OutputError

if TYPE_CHECKING:
    from dacodec.audio import AudioReader, PcmReader, PcmWriter, SampleFormat
    from dacodec.container import Header

PIPE = "-"


def wanted(inputs: Sequence[str], output: str | None, raw: str | None, how: str) -> bool:
    """Whether a pipe is read or written; if so there must be one input, and if not, no raw samples.

    Args:
        how: where ``-`` must be given for --raw to make sense.
    """
    if PIPE not in inputs and output != PIPE:
        if raw is not None:
            raise typer.BadParameter(f"is for pipes: give {how}", param_hint="--raw")
        return False
    if len(inputs) > 1:
        raise typer.BadParameter("a pipe is one recording: give one input", param_hint="IN")
    return True


@contextmanager
def output(name: str, overwrite: bool, source: str) -> Iterator[BinaryIO]:
    """Standard output for ``-``, otherwise a file that appears whole or not at all; never the ``source``."""
    from dacodec.files import new_file, refuse_same_file

    input = 0 if source == PIPE else source
    if name != PIPE:
        with new_file(name, overwrite, sources=[input]) as file:
            yield file
        return
    if stat.S_ISREG(os.fstat(1).st_mode):
        refuse_same_file(input, 1)
    if sys.stdout.isatty():
        raise OutputError("the output is not text for a terminal; pipe it, or name a file with -o")
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has enough; the command line ends quietly
        raise
    except OSError as error:
        # What is still in the buffer has nowhere to go; Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write to the pipe: {error.strerror or error}") from None


def audio_input(raw: str | None, rate: int | None, channels: int, **reading: Any) -> AudioReader | PcmReader:
    """Standard input as audio: any format that can be read forward, or raw samples.

    Args:
        reading: options of :class:`~dacodec.audio.AudioReader`.
    """
    from dacodec.audio import AudioReader, PcmReader

    if raw is None:
        return AudioReader(sys.stdin.buffer, **reading)
    if rate is None:
        raise AudioError("raw samples do not say their sampling rate; give --rate")
    return PcmReader(sys.stdin.buffer, rate, channels, cast("SampleFormat", raw))


def audio_output(file: BinaryIO, raw: str | None, header: Header, n_samples: int | None) -> PcmWriter:
    """Standard output as audio: WAV, or raw samples."""
    from dacodec.audio import PcmWriter

    if raw is None:
        return PcmWriter.wav(file, header.sampling_rate, header.channels, n_samples)
    return PcmWriter(file, cast("SampleFormat", raw))
