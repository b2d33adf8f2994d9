"""The CUDA engine without a GPU: its bookkeeping on a stand-in device, its kernels in Triton's interpreter."""

import copy
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from devices import FakeDevice
from hypothesis import given, settings
from hypothesis import strategies as st
from models import SHAPES, save_model
from rounding import limit, rms_error

import dacodec.engine
from dacodec import Codec, DacModel
from dacodec.engine import CudaEngine, NativeEngine, TorchEngine, make_engine
from dacodec.engine.cuda import engine as cuda_engine
from dacodec.engine.cuda.graphs import Replayed, bucket
from dacodec.engine.float32 import full_float32
from dacodec.errors import EngineError

TRITON = importlib.util.find_spec("triton") is not None


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {
        name: DacModel.from_pretrained(save_model(tmp_path_factory.mktemp("model"), **shape)).eval()
        for name, shape in SHAPES.items()
    }


def exact(model):
    return CudaEngine(model, "exact", FakeDevice())


def noise(rows, samples):
    return 0.3 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(3))


# Buckets and recordings


@given(st.integers(1, 10**6))
def test_buckets_add_an_eighth_at_most(n):
    size = bucket(n)
    assert n <= size <= n + max(0, n // 8)
    assert bucket(size) == size
    assert bucket(n + 1) >= size


def test_a_thousand_lengths_are_few_shapes():
    assert len({bucket(n) for n in range(1, 1001)}) <= 64


def test_a_repeated_shape_is_replayed():
    device = FakeDevice()
    sums = Replayed(lambda x, lengths, k: k * x.cumsum(1), device)
    x = torch.arange(18.0).reshape(2, 9)
    full = torch.tensor([9, 9])
    for _ in range(3):
        assert torch.equal(sums(x, full, 2)[:2, :9], 2 * x.cumsum(1))
    assert (device.runs, len(device.recordings)) == (1, 1)
    sums(x, full, 3)  # another setting is another computation
    assert (device.runs, len(device.recordings)) == (2, 1)
    first, second = sums(x, full, 2), sums(x + 1, full, 2)
    assert torch.equal(first[:2, :9], 2 * x.cumsum(1)), "a result must outlive the next replay"
    assert torch.equal(second[:2, :9], 2 * (x + 1).cumsum(1))
    assert len(device.recordings) == 1


def test_few_recordings_are_kept():
    device = FakeDevice()
    same = Replayed(lambda x, lengths: x.clone(), device, most=2)
    for _ in range(2):
        for n in (1, 2, 3):
            for _ in range(2):
                assert torch.equal(same(torch.ones(1, n), torch.tensor([n]))[:, :n], torch.ones(1, n))
    assert len(same._recorded) == 2
    assert len(device.recordings) == 6  # each shape was forgotten and recorded again


def test_threads_do_not_mix_their_results():
    same = Replayed(lambda x, lengths: x.clone(), FakeDevice())
    wrong = []

    def ask(value):
        for _ in range(200):
            if not bool((same(torch.full((1, 8), value), torch.tensor([8]))[:1, :8] == value).all()):
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# The engine's contract, in float64 so that nothing but mistakes can differ


@pytest.mark.parametrize("name", SHAPES)
def test_batches_are_the_rows_alone(models, name, monkeypatch):
    model = copy.deepcopy(models[name]).double()
    engine, reference, hop = exact(model), TorchEngine(model), models[name].config.hop_length
    frames = [23, 9, 17, 1, 30]
    lengths = torch.tensor([hop * n for n in frames])
    audio = noise(5, 30 * hop)
    seconds = 60 * hop / model.config.sampling_rate  # two rows at a time
    monkeypatch.setattr(cuda_engine, "MOST_SECONDS", seconds)
    for _ in range(3):  # as it is, recorded, replayed
        codes = engine.encode(audio, lengths)
        assert torch.equal(codes, reference.encode(audio, lengths))
        made = engine.decode(codes, codes.new_tensor(frames))
        torch.testing.assert_close(made, reference.decode(codes, codes.new_tensor(frames)), rtol=0, atol=1e-6)
    assert engine._device.recordings
    one = engine.encode(audio[:1, : 23 * hop], None, 1)
    assert torch.equal(one[0], codes[0, :1, : one.shape[2]])


@pytest.mark.parametrize("name", SHAPES)
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_pushes_are_those_of_the_layers_in_pieces(models, name, data):
    """As many outputs at every push as the engine that remembers layer by layer, and the same."""
    model = copy.deepcopy(models[name]).double()
    engine, reference, hop = exact(model), TorchEngine(model), model.config.hop_length
    audio = noise(2, 24 * hop)
    sizes = data.draw(st.lists(st.integers(0, 9 * hop), max_size=8))
    cuts = [min(sum(sizes[: i + 1]), audio.shape[1]) for i in range(len(sizes))]
    state = wanted_state = None
    parts = []
    for first, last in zip([0, *cuts], [*cuts, audio.shape[1]], strict=True):
        end = last == audio.shape[1]
        made, state = engine.push_audio(audio[:, first:last], pickle.loads(pickle.dumps(state)), None, end)
        wanted, wanted_state = reference.push_audio(audio[:, first:last], wanted_state, None, end)
        assert torch.equal(made, wanted)
        parts.append(made)
        if end:
            break
    codes, state, wanted_state = torch.cat(parts, 2), None, None
    step = data.draw(st.integers(1, 9))
    for first in range(0, codes.shape[2], step):
        piece, end = codes[:, :, first : first + step], first + step >= codes.shape[2]
        made, state = engine.push_codes(piece, state, end)
        wanted, wanted_state = reference.push_codes(piece, wanted_state, end)
        assert made.shape == wanted.shape
        torch.testing.assert_close(made, wanted, rtol=0, atol=1e-6)


def test_a_frame_a_push_is_one_recording(models):
    """Whatever the position, a live step has one shape."""
    engine = exact(models["44khz"])
    codes = engine.encode(noise(1, 60 * models["44khz"].config.hop_length))
    recorded = len(engine._device.recordings)
    state = None
    for i in range(codes.shape[2]):
        state = engine.push_codes(codes[:, :, i : i + 1], state).state
    halo = models["44khz"].geometry.decoder_halo
    assert len(engine._device.recordings) - recorded <= 2
    assert state[0].shape[-1] <= 2 * halo + 1


def test_long_audio_takes_the_codec_through_windows(models, tmp_path):
    """Chunk by chunk, with the codes of the whole."""
    folder = save_model(tmp_path, **SHAPES["44khz"])
    codec = Codec.from_pretrained(folder, dtype=torch.float64)
    whole = codec.encode(noise(2, 90000).numpy(), 44100)
    codec.engine, codec.chunk_seconds = exact(codec.engine.model), 0.25
    pieces = codec.encode(noise(2, 90000).numpy(), 44100)
    assert (whole.codes == pieces.codes).all()
    assert abs(codec.decode(whole) - codec.decode(pieces)).max() < 1e-6


def test_changed_weights_are_used(models):
    model = copy.deepcopy(models["44khz"])
    engine, audio = exact(model), noise(1, 30 * model.config.hop_length)
    for _ in range(3):
        engine.encode(audio)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(1.1)
    assert torch.equal(engine.encode(audio), TorchEngine(model).encode(audio))


def test_copies_carry_the_model_alone(models):
    engine = exact(models["44khz"])
    engine.encode(noise(1, 20 * models["44khz"].config.hop_length))
    function, (model, precision) = engine.__reduce__()
    assert (function, model, precision) == (CudaEngine, engine.model, "exact")


# Messages and settings


def test_a_missing_gpu_or_triton_is_named(models, monkeypatch):
    with pytest.raises(
        EngineError, match=r"needs the model on a GPU, this one is on cpu; give device='cuda'"
    ):
        make_engine(models["44khz"], "cuda")
    monkeypatch.setattr(cuda_engine, "has_triton", lambda: False)
    with pytest.raises(EngineError, match="needs Triton: pip install triton"):
        CudaEngine(models["44khz"], "fast", FakeDevice())


def test_without_triton_auto_is_exact_and_says_so(models, monkeypatch):
    chosen = []
    monkeypatch.setattr(dacodec.engine, "has_triton", lambda: False)
    monkeypatch.setattr(dacodec.engine, "CudaEngine", lambda model, precision: chosen.append(precision))
    monkeypatch.setattr(DacModel, "device", torch.device("cuda"))
    dacodec.engine._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="Triton is not installed"):
        make_engine(models["44khz"], "auto", "fast")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_engine(models["44khz"])  # exact needs none
    assert chosen == ["exact", "exact"]


def test_the_default_precision_is_by_engine(models):
    engine = make_engine(models["44khz"])
    if isinstance(engine, NativeEngine):
        assert engine.precision == "fast"
    assert exact(models["44khz"]).precision == "exact"


@pytest.fixture
def tf32():
    """TF32 is on for as long as a test runs."""
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    conv.fp32_precision = matmul.fp32_precision = "tf32"
    yield conv, matmul
    conv.fp32_precision, matmul.fp32_precision = before


def test_tf32_is_off_inside_only(tf32):
    conv, matmul = tf32
    inside = []

    def fail():
        with full_float32():
            inside.extend((conv.fp32_precision, matmul.fp32_precision))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == ["ieee", "ieee"]
    assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")


@pytest.mark.parametrize("engine", ["torch", "cuda"])
def test_convolutions_run_without_tf32(models, engine, tf32):
    """Inside the calls of both engines, whatever the process is set to."""
    model, seen = copy.deepcopy(models["44khz"]), []
    model.encoder.conv1.register_forward_hook(
        lambda *_: seen.append(torch.backends.cudnn.conv.fp32_precision)
    )
    model.decoder.conv2.register_forward_hook(
        lambda *_: seen.append(torch.backends.cudnn.conv.fp32_precision)
    )
    made = exact(model) if engine == "cuda" else TorchEngine(model)
    made.decode(made.encode(noise(1, 20 * model.config.hop_length)))
    assert set(seen) == {"ieee"}
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


# The kernels


@pytest.mark.skipif(not TRITON, reason="needs Triton: pip install triton")
def test_kernels_in_the_interpreter():
    """A process of its own, as Triton decides when it is imported whether to compile."""
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("interpreted_kernels.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-1] == "all compared"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", SHAPES)
def test_on_a_gpu(models, name, precision):
    model = copy.deepcopy(models[name]).cuda()
    engine, hop = CudaEngine(model, precision), model.config.hop_length
    reference = TorchEngine(copy.deepcopy(models[name]).double())
    frames = torch.tensor([23, 9, 17, 1, 30])
    audio = noise(5, 30 * hop)
    wanted = reference.encode(audio.double(), frames * hop)
    decoded = reference.decode(wanted, frames)
    for _ in range(3):  # as it is, recorded, replayed
        codes = engine.encode(audio, frames * hop)
        assert (codes == wanted).float().mean() >= 0.999
        error = rms_error(engine.decode(wanted, frames), decoded)
        assert error <= (limit(1e-6) if precision == "exact" else 10 ** (-50 / 20))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "nowhere"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(
        EngineError, match=rf"device '{device}' cannot be used here \(.+\); give device='cpu'"
    ):
        Codec.from_pretrained("builtin", device=device)
