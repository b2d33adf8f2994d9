"""The configuration of a training run: dataclasses, read from YAML with dotted overrides. Unknown keys fail.

The defaults are the settings of the released 44.1 kHz model, where it has them.
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
CONFIG_FILE = "config.yaml"  # in the folder of a run


@dataclass(frozen=True)
class DataConfig:
    """Audio to train and to validate on; see ``dacodec.training.sources`` for what a source is.

    Args:
        sources: folders, patterns or tars, each optionally as ``POOL=path``.
        validation: the same, for validation; empty for none.
        weights: how often each pool is drawn; empty for equally often. Pools that are not listed are left out.
        max_narrowband_share: limit on the share of crops from recordings with a lower rate than the model's.
        crop_seconds: rounded to whole frames.
        cache: folder for decoded audio; empty for one inside the run's folder.
        cache_gb: its limit; audio beyond it is decoded at every use.
        workers: processes that make crops; 0 makes them in the training process.
        decode_processes: processes that decode new recordings.
        rescan_seconds: how often to look for new tars; 0 for never.
        begin_early: start with one tar while the others are decoded, because a run of minutes cannot wait for all.
            Weights of pools that are not there yet are ignored.
        resident: keep all audio on the device and gather crops there, for steps of milliseconds; if false, ``workers``
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
        usual_norms: also clip at this multiple of the usual norm of the gradients, because no fixed bound suits all of
            a short run; 0 for never.
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
        decay: ``exponential``, by ``gamma`` per step, or ``cosine``, down to ``final_share``.
        begin, end: the part of the cosine that this run covers, so that several runs can follow one.
        discriminator_start_step: when the discriminator begins to learn.
        adversarial_start_step: when the generator begins to learn from it.
        discriminator_start, adversarial_start: the same as fractions of the run, for runs of minutes; the later of the
            two counts.
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
        initialise_step: until this step a new model's decoder gets the unquantized latents, then its codebooks are fitted
            to the data; 0 starts with random codebooks, like the original.
        revive_steps: how often unused codes are revived; 0 for never.
        revive_at_once: how many of a codebook, at most.
        revive_until: fraction of the run after which no codes are revived.
        trained: whether gradients train the quantizer; if not, projections stay as they were fitted, and codes follow
            the latents by ``pace``. At high learning rates gradients make the chain of projections diverge.
        fit_at: fractions of the run at which projections and codes are fitted to the data again, because the encoder has
            changed.
        fit_crops: crops for a fit.
        pace: weight of a step when codes are moving averages of their latents; 0 leaves them as they were fitted.
        rest: fractions of the run between which the pace falls to 0, so that the decoder's last steps see fixed codes.
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
    """Extra gradients at the latents, as fractions of the norm of the gradient that arrives from the audio.

    Args:
        commitment: pulls towards the latents as quantized by all codebooks together, so that components that no codebook
            sees fade.
        variance: pulls towards variance 1, which nothing else ensures if the quantizer is not trained.
    """

    commitment: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True)
class SpeedConfig:
    """How a step is computed. None of this changes the result, except for rounding.

    Args:
        graph: run a split step as one CUDA graph, on CUDA: a small model's step is spent launching kernels, not
            running them. Elsewhere the same step runs without one.
        fused_snake: compute Snake with one Triton kernel forward and one backward, on CUDA with Triton; as separate
            operations it moves activations through memory eight times.
        channels_last: use the memory layout that tensor cores need for convolutions.
        float32_tail: with bf16-mixed, run the decoder's last block and convolution in float32; otherwise quiet treble
            is lost.
        tf32: let convolutions in float32 round as TF32 does, on devices that support it.
        cudnn_search: kernels that cuDNN tries for each convolution; 0 for all. They are tried at the start of a run, which
            takes a tenth of ten minutes.
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
        model: shape of the model; by default that of ``init``.
        discriminator: shape of the discriminator; without one, only reconstruction losses are used.
        out: folder of the run. If it contains checkpoints, the run resumes from the latest.
        init: weights to start from: anything that ``DacModel.from_pretrained`` takes, including the light form of a run.
        init_discriminator: weights file to start from (ours or Descript's); ``auto``: the one beside ``init``, if there
            is one of this shape; empty: none.
        step: ``published`` trains as the paper does; ``split`` cuts the backward pass at the audio and at the latents,
            where gradients can be balanced and corrected (``dacodec.training.split``).
        start: ``scaled`` initialises a new model so that its layers have outputs of variance 1 on the data, which saves
            some hundred steps.
        balance: shares of the losses instead of weights, so that losses of any scale combine; needs ``split``.
        latents: extra gradients at the latents; needs ``split``.
        one_pass: run the discriminators once per step for the gradients of both networks, not twice, because they
            dominate the cost of a step; needs ``split``.
        max_skipped: how many steps in a row may be skipped because a gradient is not finite; 0 ends the run at the first
            loss that is not finite. Needs ``split``.
        batch_size: crops per step, over all processes and accumulated parts.
        accumulate: number of parts that a batch is computed in, one after the other, with the same result.
        steps, max_minutes: the run ends when either is reached. Without steps the minutes are those of the whole run,
            including those before it was killed; with steps they limit this process.
        speed: how a step is computed.
        ema_decay: of the moving average of the weights that is saved and validated; 0 for the latest weights.
        precision: ``bf16-mixed`` runs the networks' convolutions in bfloat16; quantizer and spectra stay in float32.
        compile: apply ``torch.compile`` to the networks, which takes minutes to start.
        deterministic: make repeated runs bit-identical, where PyTorch can.
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
            raise ConfigError("the run would never end: set steps or max_minutes")
        if self.schedule.discriminator_start_step > self.schedule.adversarial_start_step:
            raise ConfigError("discriminator_start_step must not be after adversarial_start_step")
        for name in ("batch_size", "accumulate", "log_steps", "keep_checkpoints", "devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be from 0 to less than 1, got {self.ema_decay}")
        if self.data.begin_early and not self.data.rescan_seconds:
            raise ConfigError(
                "data.begin_early needs to look for the other tars: set data.rescan_seconds to more than 0"
            )
        if self.step == "published":
            self._check_published()
        elif self.accumulate > 1:
            raise ConfigError(
                "the split step takes a batch at once: set accumulate to 1, or step to published"
            )
        if self.codebooks.trained and self.codebooks.pace:
            raise ConfigError(
                "codes are either trained or moving averages: set codebooks.trained to false, or codebooks.pace to 0"
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
            raise ConfigError(f"the published step does not support {names}; set step to split")


def load_config(recipe: str, overrides: Sequence[str] = (), **more: Any) -> TrainConfig:
    """The config in a YAML file or in one of the included recipes.

    Args:
        recipe: a file, or a recipe's name such as ``smoke``.
        overrides: as on a command line: ``["--data.workers", "4", "--steps=100"]``.
        more: further overrides of top-level keys; those that are None are ignored.

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
    # JSON is valid YAML, and has only one way to write a number.
    with new_file(path, overwrite=True) as file:
        file.write((json.dumps(values, indent=2) + "\n").encode())


def check_replaceable(path: Path) -> None:
    """Raise OutputError if ``path`` is a config written by a person and not by :func:`save_config`."""
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        raise OutputError(
            f"{path} was not written by a run and would be overwritten; move it, or choose another out"
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
