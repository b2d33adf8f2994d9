"""Which signals are batched together."""

import numpy as np

from dacodec.batching.batches import MAX_WASTE, padding_waste, plan_batches


def test_batches_waste_little():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 2000, 500).tolist()
    batches = plan_batches(lengths, budget=4000)
    assert sorted(i for batch in batches for i in batch) == list(range(500))
    assert padding_waste(lengths, batches) <= MAX_WASTE
    for batch in batches:
        assert len(batch) * max(lengths[i] for i in batch) <= 4000 or len(batch) == 1
    assert len(batches) < 200
