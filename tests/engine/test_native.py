"""The compiled engine against PyTorch in float64; and that neither threads, nor neighbours, nor pushes show."""

import copy
import os
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from codes import CodeAgreement, compare_codes
from weights import random_audio, random_weights

from dacodec.audio import read, resample
from dacodec.checkpoint import load_model
from dacodec.config import DacConfig
from dacodec.engine import NativeEngine, TorchEngine, make_engine
from dacodec.engine import native_library as library
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
# Relative rms error against float64.
EXACT, FAST_ENCODER, FAST_DECODER = 1e-5, 4e-5, 1e-4


def make_model(seed=0, **config):
    config = DacConfig(**{"n_codebooks": 4, "codebook_size": 128, **config})
    with torch.device("meta"):
        model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed), assign=True)
    return model.eval()


def relative_error(x, reference):
    assert x.shape == reference.shape
    if not x.numel():
        return 0.0
    return ((x.double() - reference).square().mean() / reference.square().mean()).sqrt().item()


def latents_of(engine, audio):
    """What the engine's encoder hands to its quantizer: [B, D, F] of audio [B, T]."""
    encoder, geometry = engine.packed().encoder, engine.geometry
    rows = [encoder.run(row[:, None], geometry.frames(len(row)), engine.threads) for row in audio]
    return torch.stack(rows)[..., : geometry.config.hidden_size].transpose(1, 2)


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES.keys())
def model(request):
    return make_model(**request.param)


@pytest.fixture(scope="module")
def small():
    return make_model(**SHAPES["primes, widths of no multiple"])


@pytest.mark.parametrize("precision", ["exact", "fast"])
@torch.inference_mode()
def test_close_to_float64_at_every_length(model, precision):
    engine = NativeEngine(model, precision, threads=1)
    reference, geometry = copy.deepcopy(model).double(), model.geometry
    agreement = CodeAgreement()
    for frames in (1, 2, 3, 7, 40):
        audio = random_audio(frames, 1, frames * geometry.config.hop_length)[:, 0]
        expected = reference.encoder(audio.double()[:, None])
        latents = latents_of(engine, audio)
        codes = reference.quantizer(expected).audio_codes
        assert relative_error(latents, expected) < (EXACT if precision == "exact" else FAST_ENCODER)
        if precision == "exact":
            agreement += compare_codes(engine.encode(audio), codes, latents, expected, model.state_dict())
        if geometry.samples(codes.shape[-1]):
            heard = reference.decoder(reference.quantizer.from_codes(codes).quantized_representation)[:, 0]
            error = relative_error(engine.decode(codes), heard)
            assert error < (EXACT if precision == "exact" else FAST_DECODER)
    agreement.assert_rare()


def real_sounds(config, seconds=1):
    """So much of each clip [1, T], after its first second, in whole frames."""
    for path in sorted(CLIPS.glob("*.flac")):
        samples, rate = read(path)
        audio = torch.from_numpy(
            resample(samples[:1, rate : (1 + seconds) * rate], rate, config.sampling_rate)
        )
        yield audio[:, : audio.shape[-1] // config.hop_length * config.hop_length]


@torch.inference_mode()
def test_a_trained_model_on_real_sound():
    model = load_model("small-1").model
    reference, exact, fast = copy.deepcopy(model).double(), NativeEngine(model, "exact"), NativeEngine(model)
    agreement, n_codes, n_same = CodeAgreement(), 0, 0
    for audio in real_sounds(model.config):
        expected = reference.encoder(audio.double()[:, None])
        codes = reference.quantizer(expected).audio_codes
        heard = reference.decoder(reference.quantizer.from_codes(codes).quantized_representation)[:, 0]
        latents = latents_of(exact, audio)
        agreement += compare_codes(exact.encode(audio), codes, latents, expected, model.state_dict())
        n_same += int((fast.encode(audio) == codes).sum())
        n_codes += codes.numel()
        assert relative_error(latents, expected) < EXACT
        assert relative_error(exact.decode(codes), heard) < EXACT
        assert relative_error(latents_of(fast, audio), expected) < FAST_ENCODER
        assert relative_error(fast.decode(codes), heard) < FAST_DECODER
    agreement.assert_rare()
    assert n_codes > 4000
    assert n_same >= 0.999 * n_codes


@torch.inference_mode()
def test_the_builtin_model_is_nearer_to_exact_than_pytorch():
    """Of small-2, float32 in any order may differ by more than the 1e-5 that near-ties are judged by: PyTorch does by 5e-5."""
    model = load_model("builtin").model
    reference, exact, fast = copy.deepcopy(model).double(), NativeEngine(model, "exact"), NativeEngine(model)
    n_codes, n_exact, n_fast, worst, pytorchs_worst = 0, 0, 0, 0.0, 0.0
    for audio in real_sounds(model.config, seconds=4):
        expected = reference.encoder(audio.double()[:, None])
        quantized = reference.quantizer(expected)
        codes, heard = quantized.audio_codes, reference.decoder(quantized.quantized_representation)[:, 0]
        pytorchs = model.encoder(audio[:, None])
        latents = latents_of(exact, audio)
        assert relative_error(latents, expected) < min(EXACT, relative_error(pytorchs, expected))
        worst = max(worst, (latents - expected).abs().max().item())
        pytorchs_worst = max(pytorchs_worst, (pytorchs - expected).abs().max().item())
        assert relative_error(latents_of(fast, audio), expected) < FAST_ENCODER
        assert relative_error(exact.decode(codes), heard) < EXACT
        assert relative_error(fast.decode(codes), heard) < FAST_DECODER
        n_exact += int((exact.encode(audio) == codes).sum())
        n_fast += int((fast.encode(audio) == codes).sum())
        n_codes += codes.numel()
    assert worst < pytorchs_worst
    assert n_codes > 15000
    assert n_exact == n_codes
    assert n_fast >= 0.999 * n_codes


@pytest.mark.parametrize("target", library.TARGETS)
def test_every_instruction_set_that_runs_here(small, target):
    here = library.load_library("generic").best_target().decode()
    if library.TARGETS.index(target) < library.TARGETS.index(here):
        # It must not be chosen then.
        assert library.load_library().target != target
        return
    engine, torch_engine = NativeEngine(small, "exact", 1, target), TorchEngine(small)
    audio = random_audio(3, 2, 50 * small.config.hop_length)[:, 0]
    codes = torch_engine.encode(audio)
    assert torch.equal(engine.encode(audio), codes)
    torch.testing.assert_close(engine.decode(codes), torch_engine.decode(codes), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_threads_do_not_show(model, precision):
    one, three = (NativeEngine(model, precision, threads) for threads in (1, 3))
    # Long enough for several blocks and chunks of every layer.
    audio = random_audio(5, 1, 30 * model.config.hop_length)[:, 0]
    assert torch.equal(latents_of(one, audio), latents_of(three, audio))
    codes = one.encode(audio)
    assert torch.equal(three.encode(audio), codes)
    assert torch.equal(three.decode(codes), one.decode(codes))


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
    for n in range(1, 5):
        assert torch.equal(engine.encode(audio, n_quantizers=n), codes[:, :n])
        expected = TorchEngine(small).decode(codes[:, :n])
        torch.testing.assert_close(engine.decode(codes[:, :n]), expected, rtol=0, atol=1e-5)


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
    assert relative_error(latents_of(engine, audio), (first + 1).double()) < EXACT
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
                warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested
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
    library.load_library.cache_clear()
    room._tell_once.cache_clear()
    with pytest.warns(UserWarning, match="without its native engine"):
        assert isinstance(make_engine(small), TorchEngine)
    with pytest.raises(EngineError, match="compiler"):
        make_engine(small, "native")
    library.load_library.cache_clear()
