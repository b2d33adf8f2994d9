"""The Triton kernels against float64, run by test_cuda.py with TRITON_INTERPRET=1."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from weights import random_weights

from dacodec import DacConfig, DacModel
from dacodec.engine import TorchEngine
from dacodec.engine.cuda.layers import Convolution, Operand, unfolded
from dacodec.engine.cuda.networks import FusedDecoder, FusedEncoder
from dacodec.model.layers import Snake, mask

BOUNDS = {True: 2e-6, False: 2e-3}  # pairs of halves, and halves


def relative(x, reference):
    return float((x.double() - reference).abs().max() / reference.abs().max())


def channels_last(x):
    return x.transpose(1, 2).contiguous()


def snake_of(channels):
    snake = Snake(channels)
    nn.init.uniform_(snake.alpha, 0.3, 2)
    return snake


def compare(conv, made_by, x, lengths, out_lengths, precise, residual):
    """``made_by`` against ``conv``, mask, residual and Snake in float64."""
    after = snake_of(conv.out_channels)
    expected = conv.double()(mask(x, lengths).double())
    steps = expected.shape[-1]
    added = torch.randn(len(x), conv.out_channels, steps) if residual else None
    if added is not None:
        expected = expected + added
    expected = mask(expected, out_lengths)
    operand = Operand.of(channels_last(mask(x, lengths)), precise)
    fused = made_by(conv.float(), after, precise)
    stream, y = fused(
        operand, out_lengths.to(torch.int32), steps, residual=None if added is None else channels_last(added)
    )
    assert relative(stream.transpose(1, 2), expected) < BOUNDS[precise]
    after = after.double()
    value = y.high.double() + (y.low.double() / 2048 if precise else 0)
    wanted = channels_last(after(stream.double().transpose(1, 2)))
    assert relative(value, wanted) < (1e-6 if precise else 1e-3)


@torch.inference_mode()
def convolutions():
    shapes = [
        (5, 20, 7, 1, 3, 37),  # channels that no tile fits
        (16, 16, 1, 1, 1, 5),
        (40, 24, 3, 1, 1, 64),
        (6, 12, 7, 1, 9, 61),
        (8, 16, 4, 2, 1, 40),
        (8, 16, 10, 5, 1, 35),
        (150, 140, 1, 1, 1, 130),  # several tiles each way
    ]
    for (inner, outer, kernel, stride, dilation, steps), precise in itertools.product(shapes, (True, False)):
        padding = -(-stride // 2) if stride > 1 else (kernel - 1) * dilation // 2
        conv = nn.Conv1d(inner, outer, kernel, stride, padding, dilation)
        lengths = torch.tensor([steps, max(stride, steps // 2 // stride * stride)])
        out_lengths = (lengths + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

        def fuse(conv, after, precise):
            return Convolution.of(conv, after, keep=True, precise=precise)

        compare(conv, fuse, torch.randn(2, inner, steps), lengths, out_lengths, precise, residual=kernel == 1)


@torch.inference_mode()
def transposed():
    for (inner, outer, stride, steps), precise in itertools.product(
        [(12, 6, 2, 20), (20, 10, 5, 7), (8, 3, 3, 11), (16, 8, 8, 1)], (True, False)
    ):
        padding = -(-stride // 2)
        conv = nn.ConvTranspose1d(inner, outer, 2 * stride, stride, padding)
        lengths = torch.tensor([steps, -(-steps // 2)])
        out_lengths = (lengths - 1) * stride - 2 * padding + 2 * stride

        def fuse(conv, after, precise):
            return Convolution.transposed(conv, after, keep=True, precise=precise)

        compare(conv, fuse, torch.randn(2, inner, steps), lengths, out_lengths, precise, residual=False)


@torch.inference_mode()
def from_audio():
    conv, after, audio = nn.Conv1d(1, 12, 7, padding=3), snake_of(12), torch.randn(2, 50)
    for precise in (True, False):
        fused = Convolution.from_audio(conv, after, precise=precise)
        lengths = torch.tensor([50, 50], dtype=torch.int32)
        stream = fused(unfolded(audio, 7, precise), lengths, 50).stream
        weight, bias = conv.weight.double(), conv.bias.double()
        expected = F.conv1d(audio[:, None].double(), weight, bias, padding=3)
        assert relative(stream.transpose(1, 2), expected) < BOUNDS[precise]


@torch.inference_mode()
def networks():
    """Whole models, odd strides among them: codes of any number of codebooks, and audio."""
    for ratios, books, size in (((2, 3), 3, 512), ((4, 2), 2, 64)):
        config = DacConfig(
            encoder_hidden_size=4,
            downsampling_ratios=ratios,
            decoder_hidden_size=16,
            n_codebooks=books,
            codebook_size=size,
        )
        model = DacModel(config).eval()
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        model.load_state_dict(random_weights(shapes, 1))
        reference = TorchEngine(DacModel(config).double())
        reference.model.load_state_dict(model.state_dict())
        audio, frames = torch.randn(2, 11 * config.hop_length), torch.tensor([11, 6])
        lengths = frames * config.hop_length
        for n in (1, books):
            wanted = reference.encode(audio.double(), lengths, n)
            codes = FusedEncoder(model)(audio, lengths, n)
            assert codes.shape == wanted.shape
            assert (codes == wanted).float().mean() > 0.999
            expected = reference.decode(wanted, frames)
            made = FusedDecoder(model)(wanted, frames)
            assert made.shape == expected.shape
            assert (made - expected).norm() < 10 ** (-50 / 20) * expected.norm()


if __name__ == "__main__":
    torch.manual_seed(0)
    for part in (convolutions, transposed, from_audio, networks):
        part()
        print(part.__name__, "compared", flush=True)
    print("all compared")
