"""The engine for NVIDIA's GPUs."""

from dacodec.engine.cuda.engine import CudaEngine, has_triton

__all__ = ["CudaEngine", "has_triton"]
