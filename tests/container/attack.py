"""What a reader may do with arbitrary bytes: for the fuzzer, and for the tests of its finds."""

import contextlib
import io

import numpy as np
import tiny

from dacodec.container import Reader, peel, verify
from dacodec.errors import FormatError, PriorError

MAX_LOST_FRAMES = 100  # more is possible in a long file, but only takes time here


def attack(data, prior=tiny.PRIOR, thorough=True):
    """Read ``data`` in all ways, or, unless ``thorough``, once strictly and once with conceal; AssertionError or another exception if something is wrong with the reader."""
    try:
        read_in_all_ways(data, prior, thorough)
    except PriorError:  # the file names another prior
        verify(io.BytesIO(data), prior)


def read_in_all_ways(data, prior, thorough):
    whole = strictly(data, prior)
    codes, n_samples, is_damaged = concealed(data, prior)
    if whole is None:
        for conceal in (False, True):
            with contextlib.suppress(FormatError):
                for _ in Reader(io.BytesIO(data), prior=prior, conceal=conceal).packets(1, 4):
                    pass
    else:
        assert not is_damaged
        assert n_samples == whole.n_samples
        np.testing.assert_array_equal(
            np.concatenate([np.empty_like(whole.codes[..., :0]), *codes], 2), whole.codes
        )
        if not thorough:
            return
        sought(data, prior, whole.codes)
        peeled(data, prior, whole.codes)


class Whole:
    """The contents of an intact file."""

    def __init__(self, reader):
        self.codes = reader.read_codes()
        self.n_samples = reader.n_samples


def strictly(data, prior):
    error = None
    try:
        return Whole(Reader(io.BytesIO(data), prior=prior))
    except FormatError as refusal:
        error = refusal
    assert error.offset is not None
    assert 0 <= error.offset <= len(data)
    return None


def concealed(data, prior):
    """Codes of packets, samples, and whether something was wrong; at most MAX_LOST_FRAMES are examined."""
    try:
        reader = Reader(io.BytesIO(data), prior=prior, conceal=True, packets_ahead=3)
    except FormatError:
        return [], 0, True
    codes, lost, frame = [], 0, 0
    for packet in reader:
        assert packet.first_frame == frame
        frame += packet.n_frames
        assert packet.n_frames <= reader.header.packet_frames
        assert packet.codes.max() < reader.header.codebook_size
        lost += packet.n_frames * packet.is_lost
        if lost > MAX_LOST_FRAMES:
            return [], 0, True
        if not packet.is_lost:
            codes.append(packet.codes)
    assert bool(lost) <= bool(reader.damages)
    return codes, reader.n_samples, bool(reader.damages)


def sought(data, prior, codes):
    start, stop = codes.shape[2] // 3, codes.shape[2] // 2 + 1
    for conceal in (False, True):
        reader = Reader(io.BytesIO(data), prior=prior, conceal=conceal)
        parts = [codes[..., :0], *(packet.codes for packet in reader.packets(start, stop))]
        np.testing.assert_array_equal(np.concatenate(parts, 2), codes[:, :, start:stop])


def peeled(data, prior, codes):
    n_codebooks = (codes.shape[1] + 1) // 2
    output = io.BytesIO()
    peel(io.BytesIO(data), output, n_codebooks)
    output.seek(0)
    np.testing.assert_array_equal(Reader(output, prior=prior).read_codes(), codes[:, :n_codebooks])
    assert not verify(io.BytesIO(data), prior).damages
