"""A folder of tokens through Hugging Face's datasets to batches for a trainer. Needs dacodec for the layout only.

    dacodec tokenize my/audio -o tokens
    python examples/datasets_pipeline.py tokens

Shards are streamed, so the corpus may be larger than memory.
"""

import sys

import numpy as np
import torch
from datasets import load_dataset
from torch.utils.data import DataLoader

from dacodec.tokens import FlatLayout, batch, flatten

LAYOUT = FlatLayout(9)  # the built-in model's codebooks, in one vocabulary


def to_ids(row):
    return {"ids": flatten(np.array(row["codes"]), LAYOUT)}


def collate(rows):
    ids, mask = map(torch.from_numpy, batch([row["ids"] for row in rows], LAYOUT.padding, multiple_of=64))
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~mask, -100)}


rows = load_dataset("parquet", data_files=f"{sys.argv[1]}/shards/*.parquet", split="train", streaming=True)
rows = rows.filter(lambda row: row["channels"] == 1 and row["duration"] <= 30)
rows = rows.map(to_ids, remove_columns=rows.column_names).shuffle(seed=0, buffer_size=1000)
for n, inputs in enumerate(DataLoader(rows, batch_size=4, collate_fn=collate), start=1):
    shape, share = list(inputs["input_ids"].shape), inputs["attention_mask"].float().mean()
    print(f"batch {n}: {shape}, {100 * share:.0f} % ids, the rest padding")
