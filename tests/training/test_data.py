"""Sources, decoded clips and crops."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dacodec.audio import loudness_lufs, write
from dacodec.errors import ConfigError, InputError
from dacodec.training.clips import ClipStore
from dacodec.training.config import load_config
from dacodec.training.crops import Crops, batches, clip_probabilities, shift_phase
from dacodec.training.sources import find_units

CLIPS = Path(__file__).parents[1] / "data" / "clips"
RATE = 16000


def tone(hz, seconds, rate=RATE, level=0.2):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)[None]


def save(path, samples, rate=RATE, subtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, samples, rate, subtype)
    return path


def make_tar(path, files, rows=None):
    """A tar of a folder with ``files`` (name to bytes) and, if given, a table of ``rows``."""
    if rows is not None:
        table = "file\tsplit\tpool\n" + "".join("\t".join(row) + "\n" for row in rows)
        files = {**files, "files.tsv": table.encode()}
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{path.stem}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def wav(hz, seconds=1.0, rate=RATE):
    buffer = io.BytesIO()
    write(buffer, tone(hz, seconds, rate), rate, format="wav")
    return buffer.getvalue()


def pools(units):
    return sorted((r.pool, Path(r.member or r.path).name) for unit in units for r in unit.recordings)


def test_folders_patterns_and_names(tmp_path):
    save(tmp_path / "speech" / "a.wav", tone(200, 0.2))
    save(tmp_path / "music" / "b.flac", tone(300, 0.2))
    (tmp_path / "music" / "notes.txt").write_text("no audio")
    assert pools(find_units([str(tmp_path)])) == [("music", "b.flac"), ("speech", "a.wav")]
    assert pools(find_units([f"mine={tmp_path}/*/*.wav"])) == [("mine", "a.wav")]
    assert find_units([f"{tmp_path}/nothing*.tar"]) == []
    save(tmp_path / ".cache" / "c.wav", tone(300, 0.2))
    save(tmp_path / "music" / "._b.wav", tone(300, 0.2))
    tar = make_tar(tmp_path / "x.tar", {"a.wav": b"", ".a.wav": b"", ".cache/b.wav": b""})
    assert pools(find_units([str(tmp_path)])) == [("music", "b.flac"), ("speech", "a.wav")]
    assert pools(find_units([str(tmp_path / ".cache")])) == [
        (".cache", "c.wav")
    ]  # a folder that is named is used
    assert pools(find_units([str(tar)])) == [("x", "a.wav")]
    with pytest.raises(InputError, match=r"data\.sources"):
        find_units([str(tmp_path / "missing")])


def test_a_table_names_pools_and_keeps_other_splits_out(tmp_path):
    rows = [("a.wav", "train", "speech"), ("b.wav", "val", "speech"), ("c.wav", "reserved", "music")]
    tar = make_tar(tmp_path / "x.tar", {n: wav(100) for n in ("a.wav", "b.wav", "c.wav", "d.wav")}, rows)
    assert pools(find_units([str(tar)])) == [("speech", "a.wav")]
    assert pools(find_units([str(tar)], "val")) == [("speech", "b.wav")]
    folder = tmp_path / "loose"
    with tarfile.open(tar) as archive:
        # Python 3.10 and 3.11 have filters only from a late patch release on.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    assert pools(find_units([str(folder)])) == [("speech", "a.wav")]


def test_recordings_are_decoded_once_at_full_scale_and_keep_their_level(tmp_path):
    audio = np.concatenate([tone(440, 1.0, 44100, level=0.001), tone(440, 1.0, 44100, level=0.003)])
    save(tmp_path / "in" / "quiet.wav", audio, 44100, "FLOAT")
    store = ClipStore(tmp_path / "cache", RATE, budget_gb=1)
    units = find_units([str(tmp_path / "in")])
    store.prepare(units)
    [clip], problems = store.load(units[0])
    assert problems == []
    assert (clip.source_rate, clip.length, clip.pool) == (44100, RATE, "in")
    middle = clip.excerpt(1000, 8000)
    expected = tone(440, 1.0, level=0.002)[0, 1000:9000]
    # Far better than 16 bits at full scale, 3e-5.
    np.testing.assert_allclose(middle, expected, atol=2e-6)
    (tmp_path / "in" / "quiet.wav").rename(tmp_path / "gone.wav")
    store.prepare([])
    assert clip.excerpt(0, 10).shape == (10,)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats(tmp_path, suffix):
    save(tmp_path / f"a.{suffix}", tone(440, 0.5))
    units = find_units([str(tmp_path)])
    store = ClipStore(tmp_path / "cache", RATE, 1)
    store.prepare(units)
    [clip], _ = store.load(units[0])
    assert clip.length >= RATE // 2


def test_damaged_and_silent_files_are_skipped_and_listed(tmp_path):
    files = {"good.wav": wav(300), "cut.flac": b"fLaC" + bytes(50), "empty.ogg": b"", "silent.wav": b""}
    buffer = io.BytesIO()
    write(buffer, np.zeros((1, 4000), np.float32), RATE, format="wav")
    files["silent.wav"] = buffer.getvalue()
    make_tar(tmp_path / "a.tar", files)
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    units = find_units([f"{tmp_path}/*.tar"])
    store = ClipStore(tmp_path / "cache", RATE, 1)
    store.prepare(units)
    loaded = [store.load(unit) for unit in units]
    assert [len(clips) for clips, _ in loaded] == [1, 0]
    named = [Path(p.name).name for _, problems in loaded for p in problems]
    assert [n.split("/")[-1] for n in named] == ["cut.flac", "empty.ogg", "silent.wav", "b.tar"]


def test_beyond_the_budget_recordings_are_read_at_every_use(tmp_path):
    make_tar(tmp_path / "a.tar", {"a.wav": wav(300), "b.wav": wav(500)})
    units = find_units([str(tmp_path / "a.tar")])
    stores = [ClipStore(tmp_path / f"cache{i}", RATE, gb) for i, gb in enumerate((1, 1.7 * RATE * 2 / 1e9))]
    for store in stores:
        store.prepare(units)
    [_, kept], [_, lazy] = (store.load(units[0])[0] for store in stores)
    assert kept.recording is None
    assert lazy.recording is not None
    assert (tmp_path / "cache1").stat().st_size < 1e9
    np.testing.assert_array_equal(kept.samples(RATE), lazy.samples(RATE))
    crop = Crops([lazy], np.ones(1), RATE, 2000, seed=3)[0]
    np.testing.assert_array_equal(crop, Crops([kept], np.ones(1), RATE, 2000, seed=3)[0])


def test_a_changed_tar_is_another_unit(tmp_path):
    tar = make_tar(tmp_path / "a.tar", {"a.wav": wav(300)})
    first = find_units([str(tar)])[0].key
    assert find_units([str(tar)])[0].key == first
    make_tar(tar, {"a.wav": wav(300, 1.5)})
    assert find_units([str(tar)])[0].key != first


def clips_of(tmp_path, source=CLIPS, rate=RATE):
    units = find_units([str(source)])
    store = ClipStore(tmp_path, rate, 1)
    store.prepare(units)
    return [clip for unit in units for clip in store.load(unit)[0]]


def test_crops_are_loud_never_clip_and_depend_on_seed_and_number_alone(tmp_path):
    clips = clips_of(tmp_path)
    crops = Crops(clips, clip_probabilities(clips, {}, RATE, 1), RATE, 6400, seed=5)
    some = [crops[i] for i in range(12)]
    for crop in some:
        assert crop.dtype == np.float32
        assert crop.shape == (6400,)
        peak = np.abs(crop).max()
        assert peak <= 1
        # Loudness is measured before the phase is shifted, which changes it a little.
        assert peak == pytest.approx(1) or loudness_lufs(crop, RATE) == pytest.approx(-16, abs=0.3)
    plain = Crops(clips, np.ones(7) / 7, RATE, 6400, seed=5, augment=False)
    exact = [loudness_lufs(plain[i], RATE) for i in range(8) if np.abs(plain[i]).max() < 0.999]
    assert exact == pytest.approx([-16] * len(exact), abs=1e-3)
    assert len(exact) >= 2
    again = Crops(clips, clip_probabilities(clips, {}, RATE, 1), RATE, 6400, seed=5)
    np.testing.assert_array_equal(again[7], some[7])
    assert len({crop.tobytes() for crop in some}) == len(some)
    assert not np.array_equal(Crops(clips, np.ones(7) / 7, RATE, 6400, seed=6)[7], some[7])


def test_quiet_parts_are_drawn_again(tmp_path):
    loud, quiet = tone(300, 1.0)[0], tone(300, 3.0, level=1e-4)[0]
    save(tmp_path / "in" / "a.wav", np.concatenate([quiet, loud])[None])
    [clip] = clips_of(tmp_path / "cache", tmp_path / "in")
    crops = Crops([clip], np.ones(1), RATE, 4000, seed=1)
    # If drawn once, three quarters of the places are quiet; if drawn up to eight times, a tenth.
    levels = [crops._draw(np.random.default_rng([1, i])).std() for i in range(40)]
    assert np.mean([level < 0.01 for level in levels]) > 0.5
    heard = []
    original = crops._draw
    crops._draw = lambda random: heard.append(original(random)) or heard[-1]
    final = []
    for i in range(40):
        crops[i]
        final.append(heard[-1][2048:-2048].std())
    assert np.mean([level < 0.01 for level in final]) < 0.3


def test_short_clips_are_padded_behind(tmp_path):
    save(tmp_path / "in" / "a.wav", tone(300, 0.1))
    [clip] = clips_of(tmp_path / "cache", tmp_path / "in")
    crop = Crops([clip], np.ones(1), RATE, 4000, seed=1, augment=False)[0]
    assert np.abs(crop[:1600]).max() > 0.05
    assert np.abs(crop[1600:]).max() == 0


def test_a_phase_shift_turns_sines_into_cosines_and_keeps_magnitudes():
    n = np.arange(4096)
    sine = np.sin(2 * np.pi * 64 * n / 4096).astype(np.float32)
    np.testing.assert_allclose(shift_phase(sine, np.pi / 2), np.cos(2 * np.pi * 64 * n / 4096), atol=1e-5)
    noise = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    there = shift_phase(noise, 1.1)
    np.testing.assert_allclose(
        np.abs(np.fft.rfft(there))[1:-1], np.abs(np.fft.rfft(noise))[1:-1], rtol=1e-3, atol=1e-2
    )
    assert not np.allclose(there, noise, atol=0.1)


def test_pools_are_drawn_by_weight_and_narrowband_recordings_are_bounded(tmp_path):
    for pool, rate, seconds in (("speech16", 16000, 30), ("speech44", 44100, 2), ("music", 44100, 4)):
        save(tmp_path / "in" / pool / "a.wav", tone(300, seconds, rate), rate)
    clips = clips_of(tmp_path / "cache", tmp_path / "in", 44100)
    order = [c.pool for c in clips]
    by_pool = dict(zip(order, clip_probabilities(clips, {}, 44100, 1.0), strict=True))
    assert by_pool == pytest.approx({"speech16": 1 / 3, "speech44": 1 / 3, "music": 1 / 3})
    weights = {"speech16": 3, "speech44": 1, "music": 1}
    by_pool = dict(zip(order, clip_probabilities(clips, weights, 44100, 0.2), strict=True))
    assert by_pool == pytest.approx({"speech16": 0.2, "speech44": 0.4, "music": 0.4})
    # For a 16 kHz model nothing is narrowband.
    clips = clips_of(tmp_path / "cache16", tmp_path / "in", 16000)
    by_pool = dict(zip(order, clip_probabilities(clips, weights, 16000, 0.2), strict=True))
    assert by_pool == pytest.approx({"speech16": 0.6, "speech44": 0.2, "music": 0.2})
    # Opus always decodes to 48 kHz, whatever its source; the table states the true rate.
    opus = io.BytesIO()
    write(opus, tone(300, 1.0, 48000), 48000, format="opus")
    folder = tmp_path / "opus"
    folder.mkdir()
    (folder / "a.opus").write_bytes(opus.getvalue())
    (folder / "files.tsv").write_text("file\tpool\tsource_rate\na.opus\tspeech\t16000\n")
    [clip] = clips_of(tmp_path / "cache_opus", folder, 44100)
    assert (clip.pool, clip.source_rate) == ("speech", 16000)
    with pytest.raises(ConfigError, match="musik"):
        clip_probabilities(clips, {"musik": 1}, 16000, 1)
    drawn = Crops(clips, clip_probabilities(clips, {"music": 1}, 16000, 1), 16000, 1600, 0)
    assert {c.pool for c, p in zip(clips, np.diff(drawn.edges, prepend=0), strict=True) if p > 0} == {"music"}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers_processes_or_interruptions(tmp_path, workers):
    clips = clips_of(tmp_path)
    crops = Crops(clips, clip_probabilities(clips, {}, RATE, 1), RATE, 1600, seed=5)
    whole = batches(crops, first_step=0, batch_size=4)
    steps = [next(whole) for _ in range(3)]
    assert steps[0].shape == (4, 1, 1600)
    np.testing.assert_array_equal(steps[1][2, 0], crops[6])
    later = batches(crops, first_step=2, batch_size=4, workers=workers)
    assert torch.equal(next(later), steps[2])
    halves = [
        batches(crops, first_step=1, batch_size=4, rank=r, world_size=2, workers=workers) for r in (0, 1)
    ]
    assert torch.equal(torch.cat([next(h) for h in halves]), steps[1])


def test_decoding_in_processes_gives_the_same(tmp_path):
    for i in range(9):
        save(tmp_path / "in" / f"{i}.wav", tone(100 + 50 * i, 0.2))
    units = find_units([str(tmp_path / "in")])
    facts = []
    for processes in (1, 2):
        store = ClipStore(tmp_path / str(processes), RATE, 1, processes)
        store.prepare(units)
        facts.append(
            next((tmp_path / str(processes)).glob("*.json")).read_text().replace(str(store.folder), "")
        )
        shutil.rmtree(store.folder) if processes == 1 else None
    assert facts[0] == facts[1]
    assert len(json.loads(facts[0])["clips"]) == 9


def test_speech_that_comes_with_the_package():
    """The data of ``dacodec train smoke``: the same bytes as the tests' clips."""
    (unit,) = find_units(load_config("smoke").data.sources)
    assert unit.recordings
    for recording in unit.recordings:
        clip = Path(recording.path)
        assert clip.read_bytes() == (CLIPS / clip.name).read_bytes()
    assert [r.pool for r in find_units(["speech=builtin"])[0].recordings] == ["speech", "speech"]
