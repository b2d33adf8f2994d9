"""The discriminators' verdict on a batch, for both networks.

Shapes: B crops, T samples.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from dacodec.training.discriminators import Discriminator
from dacodec.training.losses import Judgement, adversarial_loss, discriminator_loss, feature_loss


class Verdict(NamedTuple):
    """Judgements of real and of generated audio, and the discriminators' own loss."""

    real: Judgement
    fake: Judgement
    loss: Tensor

    def generator_losses(self) -> dict[str, Tensor]:
        return {"adversarial": adversarial_loss(self.fake), "feature": feature_loss(self.real, self.fake)}


def judge(
    discriminator: Discriminator, real: Tensor, fake: Tensor, autocast: AbstractContextManager[None]
) -> Verdict:
    """Judge ``real`` and ``fake``, both [B, 1, T], as one batch: half as many operations, each larger.

    The same pass yields the gradients of the discriminators' weights and, if it requires one, that of ``fake``.
    """
    with torch.no_grad():
        real_views = discriminator.views(real)
    both = [torch.cat(views) for views in zip(real_views, discriminator.views(fake), strict=True)]
    with autocast:
        outputs = discriminator(both)
    halves = [[x.chunk(2) for x in part] for part in outputs]
    on_real, on_fake = ([[pair[i] for pair in part] for part in halves] for i in (0, 1))
    return Verdict(on_real, on_fake, discriminator_loss(on_real, on_fake))
