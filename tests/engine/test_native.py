"""The compiled engine against PyTorch in float64; threads, other rows and pushes must not affect the result."""

import copy
import os
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from codes import MAX_LATENT_ERROR, CodeAgreement, compare_codes
from rounding import FLOOR, limit, rms_error, worst_error
from weights import random_audio, random_weights

from dacodec.audio import read, resample
from dacodec.checkpoint import load_model
from dacodec.config import DacConfig
from dacodec.engine import NativeEngine, TorchEngine, make_engine
from dacodec.engine.native import library
from dacodec.errors import EngineError
from dacodec.model import DacModel

CLIPS = Path(__file__).parents[1] / "data" / "clips"
SHAPES = {
    "44 kHz, less wide": dict(
        encoder_hidden_size=8, decoder_hidden_size=256, downsampling_ratios=[2, 4, 8, 8]
    ),
    "16 kHz, less wide": dict(
        encoder_hidden_size=16, decoder_hidden_size=128, downsampling_ratios=[2, 4, 5, 8]
    ),
    "primes, widths of no multiple": dict(
        encoder_hidden_size=6, decoder_hidden_size=72, downsampling_ratios=[2, 3, 5], codebook_dim=3
    ),
    "ones, down to one channel": dict(
        encoder_hidden_size=3, decoder_hidden_size=32, downsampling_ratios=[1, 2, 1, 3, 7]
    ),
    "two blocks, other latents": dict(
        encoder_hidden_size=40,
        decoder_hidden_size=88,
        downsampling_ratios=[9, 2],
        hidden_size=20,
        n_codebooks=6,
    ),
}


def exact_limit(pytorchs):
    """Limit of the relative rms error against float64 when PyTorch's is ``pytorchs``."""
    return limit(pytorchs, times=2)


def fast_limit(pytorchs):
    """Winograd's transforms cost a little accuracy."""
    return limit(pytorchs, times=4, floor=2 * FLOOR)


LIMITS = {"exact": exact_limit, "fast": fast_limit}


def make_model(seed=0, **config):
    config = DacConfig(**{"n_codebooks": 4, "codebook_size": 128, **config})
    with torch.device("meta"):
        model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed), assign=True)
    return model.eval()


def latents_of(engine, audio, threads=1):
    """The engine's latents [B, D, F] for audio [B, T]."""
    encoder, geometry = engine.packed().encoder, engine.geometry
    rows = [encoder.run(row[:, None], geometry.frames(len(row)), threads) for row in audio]
    return torch.stack(rows)[..., : geometry.config.hidden_size].transpose(1, 2)


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def model(request):
    return make_model(**request.param)


@pytest.fixture(scope="module")
def small():
    return make_model(**SHAPES["primes, widths of no multiple"])


class Judge:
    """A model in float64, and the error of PyTorch's float32: an engine is compared with both."""

    def __init__(self, model):
        self.model, self.reference = model, copy.deepcopy(model).double()
        self.agreement, self.pytorchs = CodeAgreement(), CodeAgreement()
        self.n_codes = self.n_same = 0

    def judge(self, engine, audio):
        """Assert that latents, codes and audio for ``audio`` [1, T] are close enough to float64."""
        limit_of = LIMITS[engine.precision]
        expected = self.reference.encoder(audio.double()[:, None])
        codes = self.reference.quantizer(expected).audio_codes
        pytorchs, latents = self.model.encoder(audio[:, None]), latents_of(engine, audio)
        assert rms_error(latents, expected) <= limit_of(rms_error(pytorchs, expected))
        made = engine.encode(audio)
        self.n_same += int((made == codes).sum())
        self.n_codes += codes.numel()
        worst = limit(
            worst_error(pytorchs, expected),
            times=2 if engine.precision == "exact" else 4,
            floor=MAX_LATENT_ERROR,
        )
        state, theirs = self.model.state_dict(), self.model.quantizer(pytorchs).audio_codes
        self.agreement += compare_codes(made, codes, latents, expected, state, worst)
        self.pytorchs += compare_codes(theirs, codes, pytorchs, expected, state, worst)
        if engine.geometry.samples(codes.shape[-1]):
            heard = decoded(self.reference, codes)
            error = rms_error(engine.decode(codes), heard)
            assert error <= limit_of(rms_error(decoded(self.model, codes), heard))


def decoded(model, codes):
    return model.decoder(model.quantizer.from_codes(codes).quantized_representation)[:, 0]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@torch.inference_mode()
def test_close_to_float64_at_every_length(model, precision):
    engine, judge = NativeEngine(model, precision, threads=1), Judge(model)
    for frames in (1, 2, 3, 7, 40):
        judge.judge(engine, random_audio(frames, 1, frames * model.config.hop_length)[:, 0])
    judge.agreement.assert_rare()


def real_sounds(config, seconds=1):
    """This much of each clip [1, T], after its first second, in whole frames."""
    for path in sorted(CLIPS.glob("*.flac")):
        samples, rate = read(path)
        audio = torch.from_numpy(
            resample(samples[:1, rate : (1 + seconds) * rate], rate, config.sampling_rate)
        )
        yield audio[:, : audio.shape[-1] // config.hop_length * config.hop_length]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@torch.inference_mode()
def test_a_trained_model_on_real_sound(precision):
    model = load_model("builtin").model
    engine, judge = NativeEngine(model, precision), Judge(model)
    for audio in real_sounds(model.config, seconds=2):
        judge.judge(engine, audio)
    assert judge.n_codes > 4000
    assert judge.n_same >= 0.999 * judge.n_codes
    # Only near-ties differ, and no more often than in PyTorch's own float32: the rule's 1 frame in 10,000
    # cannot be measured on about 2,000 frames.
    assert judge.agreement.affected_frames <= 1 + 2 * judge.pytorchs.affected_frames


def targets_here():
    best = library.load_library("generic").best_target().decode()
    return library.TARGETS[library.TARGETS.index(best) :]


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("target", library.TARGETS)
@torch.inference_mode()
def test_every_instruction_set_that_runs_here(small, target, precision):
    if target not in targets_here():
        with pytest.raises(
            EngineError, match=rf"no target '{target}' on this machine, which can run .*generic"
        ):
            NativeEngine(small, target=target)
        return
    judge = Judge(small)
    judge.judge(
        NativeEngine(small, precision, 1, target), random_audio(3, 1, 50 * small.config.hop_length)[:, 0]
    )
    judge.agreement.assert_rare()


def test_the_environment_chooses_the_instruction_set(small, monkeypatch):
    for target in targets_here():
        monkeypatch.setenv("DACODEC_NATIVE_TARGET", target)
        assert library.load_library().target == target
        assert library.load_library("generic").target == "generic"
    monkeypatch.setenv("DACODEC_NATIVE_TARGET", "sse9")
    with pytest.raises(EngineError, match=r"no target 'sse9'.*DACODEC_NATIVE_TARGET"):
        NativeEngine(small)
    monkeypatch.setenv("DACODEC_NATIVE_TARGET", "")
    assert library.load_library().target == targets_here()[0]


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_threads_do_not_show(model, precision):
    engine, geometry = NativeEngine(model, precision, 1), model.geometry
    packed = engine.packed()
    # Long enough for several blocks and chunks of every layer.
    audio = random_audio(5, 1, 30 * model.config.hop_length)[:, 0]
    latents, codes = latents_of(engine, audio), engine.encode(audio)
    vectors, samples = packed.embed(codes[0]), geometry.samples(codes.shape[-1])
    heard = packed.decoder.run(vectors, samples, 1)
    for threads in (2, 3, 9):  # also more than there are cores
        assert torch.equal(latents_of(engine, audio, threads), latents)
        rows = packed.encoder.run(audio[0][:, None], geometry.frames(audio.shape[1]), threads)
        assert torch.equal(packed.quantizer.quantize(rows, codes.shape[1], threads), codes[0])
        assert torch.equal(packed.decoder.run(vectors, samples, threads), heard)


def test_pushes_do_not_show(model):
    engine = NativeEngine(model, "exact", threads=1)
    packed, geometry = engine.packed(), engine.geometry
    frames, hop = 12, geometry.config.hop_length
    audio = random_audio(6, 1, frames * hop)[0, 0][:, None]
    n_frames = geometry.frames(len(audio))
    vectors = packed.embed(engine.encode(audio.T)[0])
    for network, rows, most in (
        (packed.encoder, audio, n_frames),
        (packed.decoder, vectors, geometry.samples(n_frames)),
    ):
        whole = network.run(rows, most, 1)
        assert len(whole) == most
        torch.manual_seed(0)
        for size in (1, 3, 50, hop + 1):
            if len(rows) > 100 * size:
                continue
            state, parts = network.states(1), []
            pieces = list(rows.split(size))
            for i, piece in enumerate(pieces):
                state = network.states(1, state)
                parts.append(network.push(piece, state[0], most, 1, end=i + 1 == len(pieces)))
            assert torch.equal(torch.cat(parts), whole)


def test_a_state_may_be_used_again(small):
    engine = NativeEngine(small, threads=1)
    audio = random_audio(7, 2, 20 * small.config.hop_length)[:, 0]
    before = engine.push_audio(audio[:, :100]).state
    kept = before.clone()
    first, second = (engine.push_audio(audio[:, 100:], before, end=True).output for _ in range(2))
    assert torch.equal(before, kept)
    assert torch.equal(first, second)


def test_fewer_codebooks(small):
    engine = NativeEngine(small, "exact", 1)
    audio = random_audio(8, 1, 30 * small.config.hop_length)[:, 0]
    codes = engine.encode(audio)
    exact, eager = TorchEngine(copy.deepcopy(small).double()), TorchEngine(small)
    for n in range(1, 5):
        assert torch.equal(engine.encode(audio, n_quantizers=n), codes[:, :n])
        expected, pytorchs = exact.decode(codes[:, :n]), eager.decode(codes[:, :n])
        error = rms_error(engine.decode(codes[:, :n]), expected)
        assert error <= exact_limit(rms_error(pytorchs, expected))


def test_rows_end_where_they_end(small):
    engine, hop = NativeEngine(small, threads=1), small.config.hop_length
    audio = random_audio(9, 3, 10 * hop)[:, 0]
    codes = engine.encode(audio, torch.tensor([10 * hop, 3 * hop, hop]))
    heard = engine.decode(codes, torch.tensor([10, 3, 1]))
    for i, frames in enumerate((10, 3, 1)):
        alone = engine.encode(audio[i : i + 1, : frames * hop])
        n_frames, samples = alone.shape[-1], small.geometry.samples(frames)
        assert torch.equal(codes[i, :, :n_frames], alone[0])
        assert not codes[i, :, n_frames:].any()
        assert torch.equal(heard[i, :samples], engine.decode(codes[i : i + 1, :, :frames])[0])
        assert not heard[i, samples:].any()


def test_equal_distances_go_to_the_first():
    model = make_model(encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=[2])
    with torch.no_grad():
        for q in model.quantizer.quantizers:
            q.codebook.weight[64:] = q.codebook.weight[:64].clone()  # every vector twice
    codes = NativeEngine(model, "exact", 1).encode(random_audio(1, 1, 400)[:, 0])
    assert codes.max() < 64
    assert codes.unique().numel() > 20


def test_changed_weights_are_packed_again(small):
    model = copy.deepcopy(small)
    engine = NativeEngine(model, "exact", 1)
    audio = random_audio(10, 1, 10 * model.config.hop_length)[:, 0]
    before = engine.packed()
    first = latents_of(engine, audio)
    assert engine.packed() is before
    with torch.no_grad():
        model.encoder.conv2.bias += 1
    assert rms_error(latents_of(engine, audio), first + 1) <= FLOOR
    assert engine.packed() is not before
    model.double()
    with pytest.raises(EngineError, match="engine='torch'"):
        engine.encode(audio)


def test_a_copy_and_a_pickle_are_the_same_engine(small):
    engine = NativeEngine(small, "exact", 1, "generic")
    audio = random_audio(11, 1, 5 * small.config.hop_length)[:, 0]
    for other in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        assert torch.equal(latents_of(other, audio), latents_of(engine, audio))


def test_several_threads_at_once(small):
    engine = NativeEngine(small, threads=2)
    audios = [random_audio(20 + i, 1, 20 * small.config.hop_length)[:, 0] for i in range(6)]
    expected = [engine.decode(engine.encode(audio)) for audio in audios]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda audio: engine.decode(engine.encode(audio)), audios * 3))
    assert all(torch.equal(a, b) for a, b in zip(results, expected * 3, strict=True))


def test_after_fork_while_another_thread_runs(small):
    engine = NativeEngine(small, threads=2)
    audio = random_audio(30, 1, 20 * small.config.hop_length)[:, 0]
    expected = engine.encode(audio)
    stop = threading.Event()

    def run():
        while not stop.is_set():
            engine.encode(audio)

    other = threading.Thread(target=run)
    other.start()
    try:
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what this tests
                pid = os.fork()
            if pid == 0:
                encoder = engine.packed().encoder  # without PyTorch, whose own threads a child does not have
                made = encoder.run(audio[0][:, None], expected.shape[-1], 2)
                os._exit(0 if len(made) == expected.shape[-1] else 1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        other.join()


def test_auto_is_native_for_float32_on_the_cpu(small):
    assert isinstance(make_engine(small), NativeEngine)
    assert isinstance(make_engine(copy.deepcopy(small).double()), TorchEngine)
    with pytest.raises(EngineError, match="fast, exact"):
        make_engine(small, "native", "perfect")


def test_without_a_compiled_library_auto_tells_and_falls_back(small, monkeypatch):
    import dacodec.engine as room

    monkeypatch.setattr(room, "is_built", lambda: False)
    monkeypatch.setattr(library, "is_built", lambda: False)
    library._load.cache_clear()
    room._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="without its native engine"):
        assert isinstance(make_engine(small), TorchEngine)
    with pytest.raises(EngineError, match="compiler"):
        make_engine(small, "native")
    library._load.cache_clear()
