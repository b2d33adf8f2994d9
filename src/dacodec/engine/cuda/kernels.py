"""The two Triton kernels: a convolution with everything around it fused, and the whole quantizer.

Activations lie channels last, [B, T, C]. Products are of half-precision operands with float32 sums. With ``PRECISE``
every operand is a pair of halves, high + low / 2048, which together hold 22 bits, and a product is three: the
accuracy of float32 at a third of the tensor cores' half-precision speed.

Importing this needs Triton.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _high_low(x):
    high = x.to(tl.float16)
    return high, ((x - high.to(tl.float32)) * 2048.0).to(tl.float16)


@triton.jit
def convolve(
    x_high, x_low, weight_high, weight_low, bias, alpha, residual, lengths,  # in
    stream, y_high, y_low,  # out
    in_steps, out_steps, positions, in_channels, out_channels, stride_b, stride_t, stride_c,
    TAPS: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, PADDING: tl.constexpr,
    PHASES: tl.constexpr, OFFSET: tl.constexpr,
    PRECISE: tl.constexpr, RESIDUAL: tl.constexpr, STREAM: tl.constexpr, SNAKE: tl.constexpr, TANH: tl.constexpr,
    STEPS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """A tile [STEPS, COLUMNS] of a convolution.

    x [B, T, C] * weight [TAPS, C, PHASES * C'] + bias, + residual, zero from ``lengths`` on: to ``stream`` in float32
    and, through Snake, to ``y`` as the next convolution's operand. A transposed convolution computes ``PHASES`` steps
    at each position: column r * C' + c is channel c of step position * PHASES + r - OFFSET.
    """
    item = tl.program_id(2).to(tl.int64)
    position = tl.program_id(0) * STEPS + tl.arange(0, STEPS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    columns = PHASES * out_channels
    sums = tl.zeros((STEPS, COLUMNS), tl.float32)
    low_sums = tl.zeros((STEPS, COLUMNS), tl.float32)
    depth = tl.cdiv(in_channels, DEPTH)
    for i in range(TAPS * depth):
        tap = i // depth
        channel = (i % depth) * DEPTH + tl.arange(0, DEPTH)
        step = position * STRIDE + tap * DILATION - PADDING
        x_at = item * stride_b + step[:, None].to(tl.int64) * stride_t + channel[None, :] * stride_c
        x_in = (step >= 0)[:, None] & (step < in_steps)[:, None] & (channel < in_channels)[None, :]
        w_at = (tap * in_channels + channel[:, None]) * columns + column[None, :]
        w_in = (channel < in_channels)[:, None] & (column < columns)[None, :]
        x = tl.load(x_high + x_at, mask=x_in, other=0.0)
        w = tl.load(weight_high + w_at, mask=w_in, other=0.0)
        sums = tl.dot(x, w, sums)
        if PRECISE:
            low_sums = tl.dot(tl.load(x_low + x_at, mask=x_in, other=0.0), w, low_sums)
            low_sums = tl.dot(x, tl.load(weight_low + w_at, mask=w_in, other=0.0), low_sums)
    if PRECISE:
        sums += low_sums / 2048.0

    channel = column % out_channels
    step = position[:, None] * PHASES + (column // out_channels)[None, :] - OFFSET
    inside = (position < positions)[:, None] & (column < columns)[None, :] & (step >= 0) & (step < out_steps)
    at = (item * out_steps + step) * out_channels + channel[None, :]
    y = sums + tl.load(bias + channel)[None, :]
    if RESIDUAL:
        y += tl.load(residual + at, mask=inside, other=0.0)
    if TANH:
        y = 1 - 2 / (tl.exp(2 * y) + 1)
    y = tl.where(step < tl.load(lengths + item), y, 0.0)
    if STREAM:
        tl.store(stream + at, y, mask=inside)
    if SNAKE:
        a = tl.load(alpha + channel)[None, :]
        sine = tl.sin(a * y)
        high, low = _high_low(y + sine * sine / (a + 1e-9))
        tl.store(y_high + at, high, mask=inside)
        if PRECISE:
            tl.store(y_low + at, low, mask=inside)


@triton.jit
def quantize(
    projected, directions, norms, feedback, codes,
    frames, n_frames, lengths,
    K: tl.constexpr, D: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    FRAMES: tl.constexpr, ENTRIES: tl.constexpr,
):  # fmt: skip
    """Codes [B, K, F] of a tile of frames, all codebooks in sequence.

    Args:
        projected: [B * F, WIDTH], the in_proj of every codebook applied to the latents, D numbers each.
        directions, norms: [K, D, SIZE] and [K, SIZE], the normalised codebooks and their squared norms.
        feedback: [K, SIZE, WIDTH], what choosing a code takes from ``projected`` of the codebooks after it.
        lengths: [B], real frames; the codes of the others are 0.
    """
    frame = tl.program_id(0) * FRAMES + tl.arange(0, FRAMES)
    place = tl.arange(0, PADDED)
    at = frame[:, None].to(tl.int64) * WIDTH + place[None, :]
    rest = tl.load(projected + at, mask=(frame < frames)[:, None] & (place < WIDTH)[None, :], other=0.0)
    item = frame // n_frames
    real = (frame % n_frames) < tl.load(lengths + item, mask=frame < frames, other=0)
    for k in range(K):
        own = (place >= k * D) & (place < (k + 1) * D)
        norm = tl.sqrt(tl.sum(tl.where(own[None, :], rest * rest, 0.0), 1))
        scale = 2 / tl.maximum(norm, 1e-12)
        best = tl.full((FRAMES,), float("inf"), tl.float32)
        code = tl.zeros((FRAMES,), tl.int32)
        for first in range(0, SIZE, ENTRIES):
            entry = first + tl.arange(0, ENTRIES)
            distance = tl.load(norms + k * SIZE + entry, mask=entry < SIZE, other=float("inf"))[None, :]
            distance = tl.broadcast_to(distance, (FRAMES, ENTRIES))
            for i in range(D):
                z = tl.sum(tl.where((place == k * D + i)[None, :], rest, 0.0), 1) * scale
                direction = tl.load(directions + (k * D + i) * SIZE + entry, mask=entry < SIZE, other=0.0)
                distance -= z[:, None] * direction[None, :]
            least = tl.min(distance, 1)
            where = first + tl.argmin(distance, 1)  # the first of equals
            code = tl.where(least < best, where, code)
            best = tl.minimum(best, least)
        taken = (k * SIZE + code).to(tl.int64)[:, None] * WIDTH + place[None, :]
        rest -= tl.load(feedback + taken, mask=(place < WIDTH)[None, :], other=0.0)
        out = (item.to(tl.int64) * K + k) * n_frames + frame % n_frames
        tl.store(codes + out, tl.where(real, code, 0).to(tl.int64), mask=frame < frames)
