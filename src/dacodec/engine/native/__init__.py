"""The compiled CPU engine."""

from dacodec.engine.native.engine import PRECISIONS, NativeEngine

__all__ = ["PRECISIONS", "NativeEngine"]
