"""Detects that a model's weights have changed since an engine packed them."""

from __future__ import annotations

from dacodec.model import DacModel


def version(model: DacModel) -> object:
    """Changes when any of the model's weights does."""
    return [(p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype) for p in model.parameters()]
