"""How long signals are cut."""

import pytest
import torch

from dacodec.batching.chunks import chunks


@pytest.mark.parametrize("block", [1, 30, 100, 101, 250, 1000])
def test_chunks_of_blocks_copy_every_step_once_or_twice(block, monkeypatch):
    """Blocks are joined once per chunk, not again for every block."""
    copied = 0
    cat = torch.cat

    def counted(parts, dim):
        nonlocal copied
        copied += sum(part.shape[dim] for part in parts)
        return cat(parts, dim)

    monkeypatch.setattr(torch, "cat", counted)
    signal = torch.arange(1000)[None]
    made = list(chunks(torch.split(signal, block, 1), 100))
    assert torch.equal(cat([steps for steps, _ in made], 1), signal)
    assert [steps.shape[1] for steps, _ in made] == [100] * 10
    assert [last for _, last in made] == [False] * 9 + [True]
    assert copied <= 2 * 1000
    assert copied == 0 or block < 1000  # a whole chunk is not copied at all
