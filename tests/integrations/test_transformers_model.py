"""What transformers' superclasses promise of a model: files, devices, training, copies. Needs transformers."""

import copy
import pickle

import huggingface_hub
import pytest
import torch
import transformers
from integration_models import HOP, audio, load_both, save_small
from packaging.version import Version
from torch.nn.utils import parametrize
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.utils import ModelOutput

import dacodec
from dacodec.errors import CodesError, ConfigError
from dacodec.integrations.transformers import DacConfig, DacModel


@pytest.fixture
def folder(tmp_path):
    return save_small(tmp_path / "toy")


@pytest.fixture
def model(folder):
    return DacModel.from_pretrained(folder)


def assert_same(model, other):
    assert model.state_dict().keys() == other.state_dict().keys()
    with torch.no_grad():
        ours, theirs = model(audio().to(model.dtype)), other(audio().to(other.dtype))
    assert torch.equal(ours.audio_codes, theirs.audio_codes)
    torch.testing.assert_close(ours.audio_values, theirs.audio_values, rtol=0, atol=1e-6)


# Results


@pytest.mark.parametrize("batch", [1, 3])
def test_the_results_of_transformers(tmp_path, batch):
    ours, theirs = load_both(save_small(tmp_path))
    x = audio(batch)
    with torch.no_grad():
        a, b = ours(x), theirs(x)
        assert isinstance(a, type(b))
        assert list(a) == list(b)
        for name in b:
            torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-5)
        for mine, its in zip(ours(x, return_dict=False), theirs(x, return_dict=False), strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)
        a, b = ours.encode(x, n_quantizers=2), theirs.encode(x, n_quantizers=2)
        assert isinstance(a, type(b))
        assert torch.equal(a.audio_codes, b.audio_codes)
        a, b = ours.decode(audio_codes=b.audio_codes), theirs.decode(audio_codes=b.audio_codes)
        assert isinstance(a, type(b))
        torch.testing.assert_close(a.audio_values, b.audio_values, rtol=0, atol=1e-5)


def test_the_quantizer_of_transformers(tmp_path):
    ours, theirs = load_both(save_small(tmp_path))
    latents = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, its in zip(ours.quantizer(latents, 2), theirs.quantizer(latents, 2), strict=True):
            torch.testing.assert_close(mine, its)
        mine, its = ours.quantizer.quantizers[0], theirs.quantizer.quantizers[0]
        assert mine.codebook_dim == 4
        for a, b in zip(mine(latents), its(latents), strict=True):
            torch.testing.assert_close(a, b)
        projected = mine.in_proj(latents)
        for a, b in zip(mine.decode_latents(projected), its.decode_latents(projected), strict=True):
            torch.testing.assert_close(a, b)
        codes = ours.encode(audio(2)).audio_codes
        for a, b in zip(ours.quantizer.from_codes(codes), theirs.quantizer.from_codes(codes), strict=True):
            torch.testing.assert_close(a, b)


def test_the_gradients_of_transformers(tmp_path):
    grads = []
    for model in load_both(save_small(tmp_path)):
        output = model(audio(2))
        (output.audio_values.pow(2).mean() + output.loss.mean()).backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    for name, grad in grads[1].items():
        torch.testing.assert_close(grads[0][name], grad, rtol=1e-3, atol=1e-5)


def test_a_config_that_wants_tuples(folder):
    model = DacModel.from_pretrained(folder, return_dict=False)
    with torch.no_grad():
        assert len(model(audio())) == 5
        assert len(model.encode(audio())) == 4
        assert isinstance(model(audio(), return_dict=True), ModelOutput)


def test_a_padded_batch_equals_single_items(model):
    x = audio(2)
    mask = torch.ones(2, x.shape[-1], dtype=torch.int32)
    mask[1, 4 * HOP :] = 0
    with torch.no_grad():
        both = model(x * mask[:, None], padding_mask=mask)
        alone = model(x[1:, :, : 4 * HOP])
    assert both.audio_codes_mask.sum(1).tolist() == [10, 4]
    assert torch.equal(both.audio_codes[1:, :, :4], alone.audio_codes)
    n = alone.audio_values.shape[1]  # less than 4 * HOP: the odd stride loses samples
    torch.testing.assert_close(both.audio_values[1:, :n], alone.audio_values, rtol=0, atol=1e-6)


def test_what_is_refused(model):
    with pytest.raises(CodesError, match="from 1 to 3"):
        model.encode(audio(), n_quantizers=4)
    with pytest.raises(ValueError, match="nothing to decode"):
        model.decode()
    with pytest.raises(NotImplementedError):
        model.get_input_embeddings()  # as transformers' own


# Configs


def test_configs_of_all_kinds(model):
    plain = dacodec.DacConfig(**{k: v for k, v in vars(model.geometry.config).items() if k != "extra"})
    its_own = transformers.DacConfig.from_dict(model.config.to_dict())
    for config in (plain, its_own, model.config):
        again = DacModel(config)
        assert type(again.config) is DacConfig
        assert again.state_dict().keys() == model.state_dict().keys()
        again.load_state_dict(model.state_dict())


def test_a_config_is_checked_and_mended():
    with pytest.raises(ConfigError, match="power of two"):
        DacConfig(codebook_size=1000)
    with pytest.warns(UserWarning, match="hop_length 512 contradicts"):
        assert DacConfig(downsampling_ratios=[2, 4, 5, 8], hop_length=512).hop_length == 320
    config = DacConfig(colour="red", hidden_size=128)
    assert (config.colour, config.hidden_size) == ("red", 128)
    config.codebook_size = 1000
    with pytest.raises(ConfigError, match="power of two"):
        DacModel(config)


def test_configs_in_json(tmp_path):
    config = DacConfig(n_codebooks=4, downsampling_ratios=[2, 3])
    theirs = transformers.DacConfig(n_codebooks=4, downsampling_ratios=[2, 3])
    assert config.to_dict() == theirs.to_dict()
    assert config.to_diff_dict() == theirs.to_diff_dict()
    assert config.to_json_string() == theirs.to_json_string()
    config.to_json_file(tmp_path / "c.json")
    assert DacConfig.from_json_file(tmp_path / "c.json").to_dict() == config.to_dict()
    assert copy.deepcopy(config).to_dict() == pickle.loads(pickle.dumps(config)).to_dict() == config.to_dict()


# Files


@pytest.mark.parametrize("shard", ["5GB", "5KB"])
@pytest.mark.parametrize("variant", [None, "fp32"])
def test_saving_and_loading(model, tmp_path, shard, variant):
    model.save_pretrained(tmp_path / "sub", max_shard_size=shard, variant=variant)
    assert len(list((tmp_path / "sub").glob("*.safetensors"))) == 1 or shard == "5KB"
    again, info = DacModel.from_pretrained(
        tmp_path, subfolder="sub", variant=variant, output_loading_info=True, low_cpu_mem_usage=True
    )
    assert not any(info.values())
    assert_same(again, model)
    if shard == "5GB" and variant is None:
        assert_same(dacodec.DacModel.from_pretrained(tmp_path / "sub"), model)


def test_dtypes(folder):
    assert DacModel.from_pretrained(folder, dtype=torch.float16).dtype == torch.float16
    assert DacModel.from_pretrained(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert DacModel.from_pretrained(folder, dtype="auto").dtype == torch.float32
    assert DacModel._from_config(DacConfig(), dtype=torch.float16).dtype == torch.float16


@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2", "eager"])
def test_attention_is_ignored(folder, model, attention):
    assert_same(DacModel.from_pretrained(folder, attn_implementation=attention), model)


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_maps(folder, model, device_map):
    again = DacModel.from_pretrained(folder, device_map=device_map)
    assert again.device.type == "cpu"
    assert_same(again, model)


def test_weights_on_the_disk(folder, model, tmp_path):
    parts = {"encoder": "cpu", "quantizer": "disk", "decoder": "disk"}
    again = DacModel.from_pretrained(folder, device_map=parts, offload_folder=tmp_path / "offloaded")
    assert again.decoder.conv1.weight.is_meta
    assert_same(again, model)
    with torch.no_grad():
        codes = model.encode(audio()).audio_codes
        torch.testing.assert_close(
            again.decode(audio_codes=codes).audio_values, model.decode(audio_codes=codes).audio_values
        )


def test_the_built_in_model():
    model = DacModel.from_pretrained("builtin")
    plain = dacodec.DacModel.from_pretrained("builtin")
    state = plain.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_pushing_to_the_hub(model, monkeypatch):
    pushed = []

    def create_repo(*args, repo_id="me/toy", **kwargs):
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def create_commit(*args, operations, **kwargs):
        pushed.extend(operation.path_in_repo for operation in operations)

    for name, fake in (("create_repo", create_repo), ("create_commit", create_commit)):
        monkeypatch.setattr(huggingface_hub.HfApi, name, fake)
        monkeypatch.setattr(
            transformers.utils.hub, name, fake, raising=False
        )  # where transformers 4 has them
    model.push_to_hub("me/toy")
    assert {"config.json", "model.safetensors"} <= set(pushed)


# Weight normalisation


def test_weight_normalisation(model, folder, tmp_path):
    before = copy.deepcopy(model)
    model.apply_weight_norm()
    assert parametrize.is_parametrized(model.decoder.block[0].conv_t1, "weight")
    assert parametrize.is_parametrized(model.quantizer.quantizers[0].in_proj, "weight")
    assert_same_audio(model, before)
    theirs = transformers.DacModel.from_pretrained(folder)
    theirs.apply_weight_norm()
    assert model.state_dict().keys() == theirs.state_dict().keys()

    theirs.save_pretrained(tmp_path / "theirs")
    model.save_pretrained(tmp_path / "ours")
    for saved in ("theirs", "ours"):
        again, info = DacModel.from_pretrained(tmp_path / saved, output_loading_info=True)
        assert type(again) is DacModel
        assert not any(info.values())
        assert_same(again, before)

    model.remove_weight_norm()
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-6, atol=1e-7)
    model.remove_weight_norm()


def test_old_weight_normalisation(model, tmp_path):
    before = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            torch.nn.utils.weight_norm(module)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    before.config.save_pretrained(tmp_path)
    assert_same(DacModel.from_pretrained(tmp_path), before)


def assert_same_audio(model, other):
    with torch.no_grad():
        torch.testing.assert_close(
            model(audio()).audio_values, other(audio()).audio_values, rtol=0, atol=1e-5
        )


# Training


def test_gradient_checkpointing(model):
    kept = []
    for reentrant in (None, False, True):
        model.zero_grad()
        model.train()
        if reentrant is not None:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            assert model.is_gradient_checkpointing
        calls = []
        hook = model.decoder.block[0].res_unit1.conv1.register_forward_hook(lambda *_: calls.append(1))  # noqa: B023
        output = model(audio(2))
        (output.audio_values.pow(2).mean() + output.loss.mean()).backward()
        hook.remove()
        assert len(calls) == (1 if reentrant is None else 2)
        kept.append([p.grad.clone() for p in model.parameters()])
    for grads in kept[1:]:
        for grad, expected in zip(grads, kept[0], strict=True):
            torch.testing.assert_close(grad, expected)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_initial_weights_are_the_plain_classes():
    config = DacConfig(encoder_hidden_size=64, decoder_hidden_size=128, downsampling_ratios=[2])
    torch.manual_seed(0)
    ours, plain = DacModel(config), dacodec.DacModel(config.plain())
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            a.std() if a.numel() > 64 else a.mean(),
            b.std() if b.numel() > 64 else b.mean(),
            rtol=0.2,
            atol=0.06,
            msg=name,
        )


def test_numbers_about_the_model(tmp_path):
    ours, theirs = load_both(save_small(tmp_path))
    assert ours.get_memory_footprint() == theirs.get_memory_footprint()
    for model in (ours, theirs):
        model.encoder.requires_grad_(False)
    for keywords in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
        assert ours.num_parameters(**keywords) == theirs.num_parameters(**keywords)
    assert ours.main_input_name == "input_values"
    assert ours.bits_per_codebook == theirs.bits_per_codebook


def test_copies(model, tmp_path):
    with torch.no_grad():
        model(audio())
    assert_same(copy.deepcopy(model), model)
    assert_same(pickle.loads(pickle.dumps(model)), model)
    torch.save(model, tmp_path / "model.pt")
    assert_same(torch.load(tmp_path / "model.pt", weights_only=False), model)


def test_compiled(model):
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        ours, expected = compiled(audio()), model(audio())
    torch.testing.assert_close(ours.audio_values, expected.audio_values, rtol=0, atol=1e-6)


def test_adapters(model):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(r=2, target_modules=r".*res_unit\d\.conv2")
    )
    assert_same_audio(adapted, model)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    with torch.no_grad():
        changed = adapted(audio()).audio_values
    assert not torch.allclose(changed, model(audio()).audio_values, atol=1e-3)
    merged = adapted.merge_and_unload()
    with torch.no_grad():
        torch.testing.assert_close(merged(audio()).audio_values, changed, rtol=0, atol=1e-4)


def test_adapters_of_transformers(model, tmp_path):
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=r".*res_unit\d\.conv2")
    if Version(peft.__version__) < Version(MIN_PEFT_VERSION):
        with pytest.raises(ValueError, match="PEFT"):  # transformers' own refusal
            model.add_adapter(lora)
        return
    model.add_adapter(lora)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    output = model(audio())
    output.audio_values.pow(2).mean().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.save_pretrained(tmp_path)
    assert "conv2" in (tmp_path / "adapter_config.json").read_text()
