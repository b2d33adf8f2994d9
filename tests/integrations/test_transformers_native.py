"""Native if that makes no observable difference, otherwise PyTorch. Needs transformers and the built engine."""

import copy
import threading

import pytest
import torch
from codes import assert_same_codes
from integration_models import audio, save_small
from torch.utils.flop_counter import FlopCounterMode

from dacodec.engine.native.latents import LatentNetwork
from dacodec.errors import EngineError
from dacodec.integrations.transformers import DacModel
from dacodec.model import DacModel as PlainModel

SHAPES = [dict(), dict(downsampling_ratios=(2, 4, 8)), dict(downsampling_ratios=(3, 5)), dict(hidden_size=20)]


@pytest.fixture
def model(tmp_path):
    return DacModel.from_pretrained(save_small(tmp_path / "toy"))


def by_pytorch(model):
    """The same weights in the plain class, which knows no native engine."""
    plain = PlainModel(model.geometry.config).eval()
    plain.load_state_dict(model.state_dict())
    return plain


@pytest.fixture
def native_calls(monkeypatch):
    calls = []
    call = LatentNetwork.__call__

    def counted(self, *args):
        calls.append(1)
        return call(self, *args)

    monkeypatch.setattr(LatentNetwork, "__call__", counted)
    return calls


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_results(tmp_path, shape, batch, native_calls):
    model = DacModel.from_pretrained(save_small(tmp_path, **shape))
    plain = by_pytorch(model)
    hop = model.config.hop_length
    for n in (hop, 5 * hop + 1, 10 * hop - 1):
        x = audio(batch, frames=2000)[..., :n]
        native_calls.clear()
        with torch.no_grad():
            ours, expected = model(x), plain(x)
            z, expected_z = model.encoder(x), plain.encoder(x)
        assert len(native_calls) == 3
        agreement = assert_same_codes(
            ours.audio_codes, expected.audio_codes, z, expected_z, model.state_dict()
        )
        assert not agreement.affected_frames
        close(ours.audio_values, expected.audio_values)
        close(ours.quantized_representation, expected.quantized_representation)
        close(ours.projected_latents, expected.projected_latents)
        close(ours.loss, expected.loss)


def test_masks(model, native_calls):
    plain = by_pytorch(model)
    x = audio(3)
    mask = torch.ones(3, x.shape[-1], dtype=torch.int32)
    mask[1, 25:] = 0
    mask[2] = 0
    with torch.no_grad():
        ours, expected = model(x, padding_mask=mask), plain(x, padding_mask=mask)
    assert len(native_calls) == 2
    assert torch.equal(ours.audio_codes, expected.audio_codes)
    close(ours.audio_values, expected.audio_values)


def test_results_can_be_trained_on(model):
    with torch.no_grad():
        values = model(audio()).audio_values
    assert not values.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (values * weight).sum().backward()
    with torch.inference_mode():
        assert model(audio()).audio_values.is_inference()


def hooked(model):
    model.decoder.block[0].res_unit1.conv1.register_forward_hook(lambda *_: None)
    model.encoder.block[0].snake1.register_forward_pre_hook(lambda *_: None)


def replaced(model):
    for half in (model.encoder, model.decoder):
        half.conv1.forward = half.conv1.forward


def other_layers(model):
    class Conv1d(torch.nn.Conv1d):
        pass

    for half in (model.encoder, model.decoder):
        half.conv1.__class__ = Conv1d


def other_padding(model):
    for half in (model.encoder, model.decoder):
        half.conv1.padding_mode = "replicate"


def normalised(model):
    model.apply_weight_norm()


@pytest.mark.parametrize("change", [hooked, replaced, other_layers, other_padding, normalised])
def test_changed_models_run_in_pytorch(model, change, native_calls):
    change(model)
    expected = by_pytorch_itself(model)
    with torch.no_grad():
        close(model(audio()).audio_values, expected)
    assert not native_calls
    model.engine = "native"
    with torch.no_grad(), pytest.raises(EngineError, match=r"cannot run natively, since .*conv1|snake1"):
        model(audio())


def by_pytorch_itself(model):
    model.engine = "torch"
    with torch.no_grad():
        values = model(audio()).audio_values
    model.engine = "auto"
    return values


@pytest.mark.parametrize(
    ("why", "setting"),
    [
        ("gradients", torch.enable_grad),
        ("autocast", lambda: torch.autocast("cpu", torch.bfloat16)),
        ("mode", lambda: FlopCounterMode(display=False)),
        ("mode", lambda: torch.device("cpu")),
    ],
)
def test_settings_that_need_pytorch(model, why, setting, native_calls):
    with torch.no_grad(), setting():
        model(audio())
        assert not native_calls
        model.engine = "native"
        with pytest.raises(EngineError, match=why):
            model(audio())


def test_gradients_come_through(model, native_calls):
    model(audio()).audio_values.sum().backward()
    assert model.encoder.conv1.weight.grad.abs().sum() > 0
    assert not native_calls
    model.requires_grad_(False)
    x = audio().requires_grad_()
    model(x).loss.sum().backward()
    assert x.grad.abs().sum() > 0
    assert not native_calls
    model(audio())  # neither requires gradients
    assert len(native_calls) == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes(model, dtype, native_calls):
    model.to(dtype)
    with torch.no_grad():
        assert model(audio().to(dtype)).audio_values.dtype == dtype
    assert not native_calls


def test_transforms(model, native_calls):
    model.requires_grad_(False)
    batch = audio(3)
    each = torch.func.vmap(lambda x: model.encoder(x[None])[0])(batch)
    close(each, by_pytorch(model).encoder(batch))
    _, slope = torch.func.jvp(model.encoder, (batch,), (torch.ones_like(batch),))
    assert slope.abs().sum() > 0
    assert not native_calls


def test_other_weights_for_one_call(model):
    other = {name: value * 1.1 for name, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(audio()).audio_values
        changed = torch.func.functional_call(model, other, (audio(),)).audio_values
        close(model(audio()).audio_values, before)
    model.load_state_dict(other)
    with torch.no_grad():
        close(changed, by_pytorch(model)(audio()).audio_values)


def in_place(model):
    with torch.no_grad():
        model.decoder.conv2.weight.mul_(0.5)
        model.encoder.conv1.weight.mul_(0.5)


def through_data(model):
    for parameter in model.parameters():
        parameter.data.mul_(0.9)


def in_inference_mode(model):
    with torch.inference_mode():
        model.decoder.block[1].res_unit3.conv2.weight.mul_(0.5)


def loaded(model):
    model.load_state_dict({name: value * 0.9 for name, value in model.state_dict().items()})


def assigned(model):
    model.load_state_dict({name: value * 0.9 for name, value in model.state_dict().items()}, assign=True)


def an_optimizer(model):
    model(audio()).audio_values.pow(2).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()


@pytest.mark.parametrize(
    "change", [in_place, through_data, in_inference_mode, loaded, assigned, an_optimizer]
)
def test_weights_that_change_are_seen(model, change, native_calls):
    with torch.no_grad():
        before = model(audio()).audio_values
        change_without_grad = change is not an_optimizer
    with torch.set_grad_enabled(not change_without_grad):
        change(model)
    native_calls.clear()
    with torch.no_grad():
        after = model(audio()).audio_values
        close(after, by_pytorch(model)(audio()).audio_values)
    assert len(native_calls) == 2
    assert not torch.allclose(before, after, atol=1e-4)


def test_copies_are_on_their_own(model):
    with torch.no_grad():
        before = model(audio()).audio_values
        other = copy.deepcopy(model)
        through_data(other)
        other(audio())
        close(model(audio()).audio_values, before)


def test_several_threads(model):
    x = audio(frames=50)
    with torch.no_grad():
        expected = model(x).audio_values
    found = []

    def work():
        with torch.no_grad():
            found.extend(model(x).audio_values for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert all(torch.equal(values, expected) for values in found)


def test_the_engine_of_one_model_and_of_all(model, registered, native_calls):
    other = copy.deepcopy(model)
    model.engine = "torch"
    registered("native")
    assert (model.engine, other.engine) == ("torch", "native")
    with torch.no_grad():
        model(audio())
        assert not native_calls
        other(audio())
        assert len(native_calls) == 2
    with pytest.raises(EngineError, match="auto, native, torch"):
        model.engine = "cuda"


def test_a_model_without_the_engine_built(model, monkeypatch):
    monkeypatch.setattr("dacodec.integrations.transformers.networks.is_built", lambda: False)
    with torch.no_grad():
        expected = by_pytorch(model)(audio()).audio_values
        close(model(audio()).audio_values, expected)
        model.engine = "native"
        with pytest.raises(EngineError, match="not built"):
            model(audio())
