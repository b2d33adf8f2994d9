"""What a training run is told: dataclasses, read from YAML with dotted overrides. Unknown keys fail.

The defaults are those of the released 44.1 kHz model, where it had the setting at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dacodec.config import DacConfig
from dacodec.errors import ConfigError, OutputError
from dacodec.files import new_file
from dacodec.training.balance import BalanceConfig
from dacodec.training.discriminators import DiscriminatorConfig
from dacodec.training.losses import LossWeights
from dacodec.training.resident import ResidentConfig

RECIPES = Path(__file__).parent / "recipes"
CONFIG_FILE = "config.yaml"  # in a run's folder


@dataclass(frozen=True)
class DataConfig:
    """Audio to train and to validate on; see ``dacodec.training.sources`` for what a source is.

    Args:
        sources: folders, patterns or tars, each perhaps as ``POOL=path``.
        validation: the same, for validation; empty for none.
        weights: how often each pool is drawn; empty for all alike. Pools that are not named are left out.
        max_narrowband_share: of crops from recordings of a lower rate than the model's.
        crop_seconds: rounded to whole frames.
        cache: folder of decoded audio; empty for a folder within the run's.
        cache_gb: its bound; what goes beyond is decoded at every use.
        workers: processes that make crops; 0 makes them in the training process.
        decode_processes: that decode what is new.
        rescan_seconds: how often to look for new tars; 0 for never.
        begin_early: begin with one tar while the others are decoded, as a run of minutes cannot wait for all; weights of
            pools that are not there (yet) count nothing then.
        resident: keep all audio on the device and gather crops there, for steps of milliseconds; left out, ``workers``
            make them.
    """

    sources: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    max_narrowband_share: float = 0.3
    crop_seconds: float = 0.38
    cache: str = ""
    cache_gb: float = 16.0
    workers: int = 2
    decode_processes: int = 2
    rescan_seconds: float = 30.0
    begin_early: bool = False
    resident: ResidentConfig | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, and the norm that gradients are clipped to.

    Args:
        usual_norms: clip at so many times the gradients' usual norm too, because no fixed bound fits the whole of a
            short run; 0 for never.
    """

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    max_grad_norm: float = 1e3
    usual_norms: float = 0.0


@dataclass(frozen=True)
class ScheduleConfig:
    """What changes over a run.

    Args:
        warmup_steps: over which the learning rates rise from 0.
        decay: ``exponential``, by ``gamma`` a step, or ``cosine``, to ``final_share``.
        begin, end: the part of the cosine that this run covers, so that a chain of runs can follow one.
        discriminator_start_step: when the discriminator begins to learn.
        adversarial_start_step: when the generator begins to listen to it.
        discriminator_start, adversarial_start: the same as shares of the run, for runs of minutes; the later one counts.
    """

    warmup_steps: int = 0
    decay: Literal["exponential", "cosine"] = "exponential"
    gamma: float = 0.999996
    final_share: float = 0.02
    begin: float = 0.0
    end: float = 1.0
    discriminator_start_step: int = 0
    adversarial_start_step: int = 0
    discriminator_start: float = 0.0
    adversarial_start: float = 0.0


@dataclass(frozen=True)
class CodebookConfig:
    """Codebook health.

    Args:
        initialise_step: until then a new model's decoder hears the latents as they are, then its codebooks are set
            from the data; 0 begins with random codebooks, as the original does.
        revive_steps: how often codes that nobody used since the last time are revived; 0 for never.
        revive_at_once: at most so many of a codebook.
        revive_until: share of the run after which codes are left alone.
        trained: by gradients; if not, projections stay as they were set, and codes follow by ``pace``. At high rates the
            chain of projections runs away under gradients.
        fit_at: shares of the run at which projections and codes are set from the data again, because the encoder moves on.
        fit_crops: crops that they are set from.
        pace: of the moving averages that codes are: a step's weight; 0 leaves them as they were set.
        rest: shares of the run between which the pace falls to 0, so that the decoder's last steps hear still codes.
    """

    initialise_step: int = 0
    trained: bool = True
    fit_at: list[float] = field(default_factory=list)
    fit_crops: int = 48
    pace: float = 0.0
    rest: tuple[float, float] = (0.75, 0.9)
    revive_steps: int = 0
    revive_at_once: int = 64
    revive_until: float = 0.7


@dataclass(frozen=True)
class LatentsConfig:
    """Pulls on the latents, as shares of the norm of the gradient that reaches them from the audio.

    Args:
        commitment: towards what all codebooks together make of them, so that what no codebook sees fades.
        variance: towards variance 1, which nothing else holds where the quantizer is not trained.
    """

    commitment: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True)
class SpeedConfig:
    """How a step is computed; none of it changes what is computed, but for rounding.

    Args:
        graph: a step of the split kind as one CUDA graph, where there is CUDA: a small model's step is spent on launching
            kernels, not on running them. Elsewhere the same step runs as it is.
        fused_snake: Snake as one Triton kernel forward and one backward, where there are CUDA and Triton: written out,
            it moves activations through memory eight times.
        channels_last: the convolutions' memory order that tensor cores want.
        float32_tail: with bf16-mixed, the decoder's last block and convolution in float32, or quiet treble is lost.
        tf32: convolutions that are left in float32 may round as TF32 does, on devices that have it.
        cudnn_search: kernels that cuDNN tries for each convolution; 0 for all. They are tried at the start of a run, which
            is a tenth of one of ten minutes.
    """

    graph: bool = False
    fused_snake: bool = False
    channels_last: bool = False
    float32_tail: bool = False
    tf32: bool = False
    cudnn_search: int = 10


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Args:
        model: shape of the model; left out, that of ``init``.
        discriminator: shape of the discriminator; left out, reconstruction losses alone.
        out: folder of the run. If it holds checkpoints, the run goes on from the last one.
        init: weights to begin with: anything that ``DacModel.from_pretrained`` takes, the light form of a run too.
        init_discriminator: weights file to begin with (ours or Descript's); ``auto``: the one beside ``init``, if
            there is one of this shape; empty: none.
        step: ``published`` trains as the paper does; ``split`` cuts the backward pass at the audio and at the latents,
            where gradients can be balanced and pulled (``dacodec.training.split``).
        start: ``scaled`` gives a new model's layers outputs of variance 1 on the data, which saves it some hundred steps.
        balance: shares of the losses in place of their weights, so that losses of any scale go together; needs ``split``.
        latents: pulls on the latents; needs ``split``.
        one_pass: ``split`` asks the discriminators once a step for both networks' gradients, not twice: they are
            what a step costs most for.
        max_skipped: so many steps in a row may be skipped because a gradient is not finite; 0 ends the run at the
            first loss that is not. Needs ``split``.
        batch_size: crops a step, over all processes and accumulated parts.
        accumulate: parts that a step is computed in, one after the other, with the result of one.
        steps, max_minutes: the run ends with the first that is reached. Without steps the minutes are the whole run's,
            those before it was killed included; with steps they are what this process may take.
        speed: how a step is computed.
        ema_decay: of the average of the weights that is saved and validated; 0 for the last weights.
        precision: ``bf16-mixed`` runs the networks' convolutions in bfloat16; quantizer and spectra stay in float32.
        compile: run the networks through ``torch.compile``, which takes minutes to start.
        deterministic: bit-identical repeats, where PyTorch can.
    """

    model: DacConfig | None = None
    discriminator: DiscriminatorConfig | None = None
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    generator_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discriminator_optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(max_grad_norm=10.0)
    )
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    codebooks: CodebookConfig = field(default_factory=CodebookConfig)
    out: str = "runs/dacodec"
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    init: str = ""
    init_discriminator: str = "auto"
    step: Literal["published", "split"] = "published"
    start: Literal["plain", "scaled"] = "plain"
    balance: BalanceConfig | None = None
    latents: LatentsConfig = field(default_factory=LatentsConfig)
    one_pass: bool = True
    max_skipped: int = 0
    batch_size: int = 72
    accumulate: int = 1
    steps: int | None = None
    max_minutes: float | None = None
    ema_decay: float = 0.999
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    deterministic: bool = False
    log_steps: int = 10
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    validate_minutes: float = 5.0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if self.steps is None and self.max_minutes is None:
            raise ConfigError("say when to stop: give steps or max_minutes")
        if self.schedule.discriminator_start_step > self.schedule.adversarial_start_step:
            raise ConfigError("discriminator_start_step must not be after adversarial_start_step")
        for name in ("batch_size", "accumulate", "log_steps", "keep_checkpoints", "devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be from 0 to less than 1, got {self.ema_decay}")
        if self.data.begin_early and not self.data.rescan_seconds:
            raise ConfigError(
                "who begins early must look for the rest: set data.rescan_seconds to more than 0"
            )
        if self.step == "published":
            self._check_published()
        elif self.accumulate > 1:
            raise ConfigError(
                "the split step takes a batch at once: set accumulate to 1, or step to published"
            )
        if self.codebooks.trained and self.codebooks.pace:
            raise ConfigError(
                "codes are trained, or they follow: set codebooks.trained to false, or pace to 0"
            )

    def _check_published(self) -> None:
        schedule, codebooks = self.schedule, self.codebooks
        asked = {
            "balance": self.balance,
            "latents": self.latents != LatentsConfig(),
            "max_skipped": self.max_skipped,
            "codebooks.trained": not codebooks.trained,
            "generator_optimizer.usual_norms": self.generator_optimizer.usual_norms,
            "discriminator_optimizer.usual_norms": self.discriminator_optimizer.usual_norms,
            "schedule.discriminator_start": schedule.discriminator_start,
            "schedule.adversarial_start": schedule.adversarial_start,
            "speed.graph": self.speed.graph,
        }
        names = ", ".join(name for name, value in asked.items() if value)
        if names:
            raise ConfigError(f"the published step knows nothing of {names}; set step to split")


def load_config(recipe: str, overrides: Sequence[str] = (), **more: Any) -> TrainConfig:
    """The config in a YAML file, or in one of the recipes that come with the package.

    Args:
        recipe: a file, or a recipe's name such as ``smoke``.
        overrides: as on a command line: ``["--data.workers", "4", "--steps=100"]``.
        more: further overrides of top-level keys; those that are None are left alone.

    Raises:
        ConfigError: for unknown keys, values of a wrong type, and settings that contradict each other.
    """
    parser = _parser()
    path = Path(recipe)
    if not path.is_file():
        path = RECIPES / f"{path.stem}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise ConfigError(f"there is no config {recipe!r}: give a YAML file, or one of the recipes {names}")
    arguments = [f"--config={path}", *overrides]
    arguments += [f"--{name}={value}" for name, value in more.items() if value is not None]
    try:
        values = parser.instantiate(parser.parse_args(arguments))
    except ConfigError:
        raise
    except Exception as error:  # argparse's, jsonargparse's and YAML's own errors
        raise ConfigError(f"{recipe}: {error}") from error
    values.pop("config")
    return TrainConfig(**vars(values))


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a YAML file that :func:`load_config` reads."""
    values = asdict(config)
    if values["model"]:
        del values["model"]["extra"]
    # JSON is YAML, and has one way of writing a number.
    with new_file(path, overwrite=True) as file:
        file.write((json.dumps(values, indent=2) + "\n").encode())


def check_replaceable(path: Path) -> None:
    """Raise OutputError if ``path`` is a config that a person wrote, and not :func:`save_config`."""
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        raise OutputError(
            f"{path} was not written by a run, and would be replaced; move it, or give another out"
        ) from None


def _parser() -> Any:
    try:
        from jsonargparse import ArgumentParser
    except ImportError as error:
        raise ConfigError("training needs more packages: pip install dacodec[train]") from error
    parser = ArgumentParser(prog="dacodec train CONFIG", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainConfig)
    return parser
