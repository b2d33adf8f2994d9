"""Which discriminator ``dacodec finetune`` starts from."""

from types import SimpleNamespace

import pytest
from models import save_model
from typer.testing import CliRunner

from dacodec import DacModel
from dacodec.checkpoint.sources import builtin_folder
from dacodec.cli.main import app
from dacodec.training import checkpoints, loop
from dacodec.training.checkpoints import discriminator_of, save_light
from dacodec.training.discriminators import Discriminator, DiscriminatorConfig

SHAPE = DiscriminatorConfig(periods=(2, 3), fft_sizes=(256,), width=0.05)


@pytest.fixture
def with_one(tmp_path):
    """A run's light form."""
    model = DacModel.from_pretrained(save_model(tmp_path / "first"))
    folder = tmp_path / "run" / "model"
    save_light(folder, model.config, model.state_dict(), SHAPE, Discriminator(SHAPE).state_dict())
    return folder


@pytest.fixture
def told(monkeypatch):
    """Runs the command up to the training. Returns the config for it, and the output."""

    def run(*line):
        configs = []

        def fit(config):
            configs.append(config)
            return SimpleNamespace(reason="", step=0, audio_seconds=0, model="")

        monkeypatch.setattr(loop, "fit", fit)
        done = CliRunner().invoke(app, ["finetune", *map(str, line)])
        assert done.exit_code == 0, done.output
        return configs[0], done.output

    return run


def test_the_models_own_is_heard_from_the_first_step(with_one, told):
    config, output = told(with_one)
    assert config.discriminator == SHAPE
    assert config.init_discriminator == str(with_one / "discriminator.safetensors")
    assert config.schedule.adversarial_start_step == 0
    assert "new discriminator" not in output


def test_a_file_that_is_given(with_one, told, tmp_path):
    file = (with_one / "discriminator.safetensors").rename(tmp_path / "other.safetensors")
    config, _ = told(with_one, "--discriminator", file)
    assert (config.discriminator, config.init_discriminator) == (SHAPE, str(file))


def test_what_is_said_on_the_command_line_counts(with_one, told):
    config, _ = told(with_one, "--schedule.adversarial_start_step", 7, "--discriminator.width", 0.1)
    assert config.schedule.adversarial_start_step == 7
    assert config.discriminator.width == 0.1  # the run refuses this, naming the file's shape


def test_without_one_a_new_one_learns_first(with_one, told):
    (with_one / "discriminator.safetensors").unlink()
    config, output = told(with_one)
    assert config.discriminator == DiscriminatorConfig()
    assert config.schedule.adversarial_start_step > 0
    assert "as --discriminator FILE" in output.replace("\n", " ")


def test_none_is_made_of_nothing(with_one, told, tmp_path):
    """An empty name requests a new one, and a recipe without a discriminator stays without."""
    config, output = told(with_one, "--init_discriminator=")
    assert config.discriminator == DiscriminatorConfig()
    assert "new discriminator" not in output
    assert told(with_one, "smoke")[0].discriminator is None


def test_a_built_in_models_lies_beside_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "BUILTIN_DISCRIMINATORS", tmp_path)
    name = builtin_folder("builtin").name
    assert discriminator_of("builtin") == discriminator_of(name) == tmp_path / f"{name}.safetensors"
    assert discriminator_of(f"./{name}").parent.name == name
