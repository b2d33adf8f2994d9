"""Ogg: Vorbis and Opus, chains, damage."""

import io
import struct

import numpy as np
import pytest
import soundfile
from recordings import RATE, correlation, encoded, opus, patched, piped, read, tone, vorbis, warned

from dacodec import audio
from dacodec.audio import ogg
from dacodec.errors import AudioError

pytestmark = pytest.mark.usefixtures("no_warning_passes")


@pytest.mark.parametrize("n_samples", [1, 1000, 48000, 100001])
def test_opus_and_vorbis_have_as_many_samples_as_went_in(n_samples):
    samples = tone(n_samples / 48000, 48000)
    file = io.BytesIO()
    audio.write(file, samples, 48000, format="OPUS")
    for data in (file.getvalue(), vorbis(samples, 48000)):
        result = read(data)
        assert (result.samples.shape, result.sampling_rate) == ((1, n_samples), 48000)
        assert n_samples < 1000 or correlation(result.samples, samples) > 0.99
        np.testing.assert_array_equal(piped(data).samples, result.samples)


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000])
def test_opus_at_its_own_rate(rate):
    file = io.BytesIO()
    audio.write(file, tone(1, rate), rate, format="OPUS")
    result = read(file.getvalue())
    theirs, their_rate = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    assert result.sampling_rate == their_rate == rate
    assert result.samples.shape == theirs.T.shape == (1, rate)
    assert correlation(result.samples, theirs.T) > 0.99


@pytest.mark.parametrize(
    "make",
    [lambda s: opus(s), lambda s: vorbis(s, 48000), lambda s: encoded(s, 48000, "flac", "ogg")],
    ids=["opus", "vorbis", "flac"],
)
def test_chained_ogg(make):
    first, second = tone(1, 48000), tone(1.5, 48000, hz=1000)
    data = make(first) + make(second)
    for result in (read(data).samples, piped(data).samples):
        assert result.shape == (1, first.shape[1] + second.shape[1])
        assert correlation(result[:, 48000:], second) > 0.99


def test_a_chain_whose_links_differ():
    data = vorbis(tone(1), RATE) + opus(tone(1, 48000, channels=2)) + vorbis(tone(1), RATE)
    with warned("it changes from 44100 Hz and 1 channel.* to 48000 Hz and 2 at 1.00 s"):
        result = read(data)
    assert result.samples.shape == (1, 3 * RATE)
    assert correlation(result.samples[:, 2 * RATE :], tone(1)) > 0.99


def pages_of(data):
    return list(ogg._Pages(audio.reading.Source(io.BytesIO(data))))


def test_ogg_checksums_are_right():
    for page in pages_of(opus(tone(1, 48000))):
        assert ogg.checksum(page.data) == struct.unpack_from("<I", page.data, 22)[0]


@pytest.mark.parametrize("how", ["changed", "lost"])
def test_damaged_ogg(how):
    data = opus(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5 * 48000)).astype(np.float32))
    pages = [page.data for page in pages_of(data)]
    third = pages[3]
    middle = [] if how == "lost" else [patched(third, 500, bytes([third[500] ^ 1]))]
    damaged = b"".join([*pages[:3], *middle, *pages[4:]])
    with pytest.raises(AudioError, match=r"it is damaged: .*--damaged keep"):
        read(damaged)
    with warned("damaged"):
        kept = read(damaged, damaged="keep")
    (damage,) = kept.damage
    assert damage.missing == 5 * 48000 - kept.samples.shape[1] > 10000


def test_ogg_that_is_cut_off():
    data = opus(tone(3, 48000))
    with warned("cut off within its last page"):
        assert read(data[:-50]).samples.shape[1] > 40000
