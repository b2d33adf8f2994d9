"""Codes as moving averages against means computed one code at a time."""

import torch

from dacodec.config import DacConfig
from dacodec.model import DacModel
from dacodec.training.moving import FEW, MovingCodes

SHAPE = DacConfig(4, (2, 4), 16, n_codebooks=3, codebook_size=8, codebook_dim=4)


def quantizer_and_latents():
    torch.manual_seed(0)
    quantizer = DacModel(SHAPE).quantizer
    return quantizer, [torch.randn(3, SHAPE.hidden_size, 20) for _ in range(5)]


def batch_means(quantized, k):
    """For each code of codebook ``k``: how often it is assigned, and the sum of its latents."""
    counts, sums = torch.zeros(8), torch.zeros(8, 4)
    for item in range(3):
        for frame in range(20):
            code = quantized.audio_codes[item, k, frame]
            counts[code] += 1
            sums[code] += quantized.projected_latents[item, 4 * k : 4 * k + 4, frame]
    return counts, sums


def test_at_full_pace_codes_are_the_batch_means():
    quantizer, latents = quantizer_and_latents()
    codes = MovingCodes(quantizer)
    before = [q.codebook.weight.detach().clone() for q in quantizer.quantizers]
    with torch.no_grad():
        quantized = quantizer(latents[0])
    codes.follow(quantized, torch.tensor(1.0))
    unused = 0
    for k, q in enumerate(quantizer.quantizers):
        counts, sums = batch_means(quantized, k)
        used = counts > 0
        torch.testing.assert_close(q.codebook.weight[used], sums[used] / counts[used, None])
        assert torch.equal(q.codebook.weight[~used], before[k][~used])
        unused += int((~used).sum())
    assert unused > 0


def test_step_by_step_they_are_the_averages_written_out():
    quantizer, latents = quantizer_and_latents()
    codes = MovingCodes(quantizer)
    count = torch.ones(3, 8)
    total = torch.stack([q.codebook.weight.detach().clone() for q in quantizer.quantizers])
    expected = total.clone()
    for x in latents:
        with torch.no_grad():
            quantized = quantizer(x)
        codes.follow(quantized, torch.tensor(0.3))
        for k in range(3):
            counts, sums = batch_means(quantized, k)
            count[k] = 0.7 * count[k] + 0.3 * counts
            total[k] = 0.7 * total[k] + 0.3 * sums
            moves = count[k] > FEW
            expected[k, moves] = total[k, moves] / count[k, moves, None]
        for k, q in enumerate(quantizer.quantizers):
            torch.testing.assert_close(q.codebook.weight, expected[k])


def test_without_pace_nothing_moves_even_if_latents_are_not_finite():
    quantizer, latents = quantizer_and_latents()
    codes = MovingCodes(quantizer)
    before = [x.clone() for x in (*codes.codebooks, codes.counts, codes.sums)]
    with torch.no_grad():
        quantized = quantizer(latents[0])
    bad = quantized._replace(projected_latents=quantized.projected_latents * float("nan"))
    codes.follow(bad, torch.tensor(0.0))
    for x, y in zip((*codes.codebooks, codes.counts, codes.sums), before, strict=True):
        assert torch.equal(x, y)


def test_codes_that_were_set_anew_do_not_return():
    quantizer, latents = quantizer_and_latents()
    codes = MovingCodes(quantizer)
    with torch.no_grad():
        codes.follow(quantizer(latents[0]), torch.tensor(0.5))
        quantizer.quantizers[1].codebook.weight[3] = 100.0
        none = torch.zeros(0, dtype=torch.int64)
        codes.reset([none, torch.tensor([3]), none])
        quantized = quantizer(latents[1])
    counts, sums = batch_means(quantized, 1)
    codes.follow(quantized, torch.tensor(0.01))
    expected = (0.99 * 100 + 0.01 * sums[3]) / (0.99 + 0.01 * counts[3])
    torch.testing.assert_close(quantizer.quantizers[1].codebook.weight[3], expected)


def test_parts_of_a_batch_in_processes_are_the_batch():
    whole, latents = quantizer_and_latents()
    part, _ = quantizer_and_latents()
    with torch.no_grad():
        batch, a, b = whole(latents[0]), part(latents[0][:1]), part(latents[0][1:])
    others = []
    MovingCodes(quantizer_and_latents()[0], lambda x: others.append(x.clone()) or x).follow(
        a, torch.tensor(0.5)
    )
    MovingCodes(part, lambda x: x + others[0]).follow(b, torch.tensor(0.5))
    MovingCodes(whole).follow(batch, torch.tensor(0.5))
    for one, two in zip(whole.quantizers, part.quantizers, strict=True):
        torch.testing.assert_close(one.codebook.weight, two.codebook.weight)
