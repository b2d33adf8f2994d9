"""Train a tiny GPT on a folder of tokens, sample from it, and hear what it says.

    dacodec tokenize my/audio -o tokens --n-quantizers 4
    python examples/tiny_gpt.py tokens heard.wav

Each row of the delay layout is one position: the K ids are embedded, added up, and predicted by K heads, as in MusicGen
(https://arxiv.org/abs/2306.05284). It learns its clips by heart within minutes on a CPU; speech takes more of everything.
"""

import argparse

import pyarrow.parquet as pq
import soundfile
import torch
from torch import nn

from dacodec import Codec
from dacodec.tokens import apply, batch, delayed, invert


class TinyGPT(nn.Module):
    def __init__(self, layout, width, depth, longest):
        super().__init__()
        n, k = layout.vocabulary, layout.n_codebooks
        self.ids = nn.ModuleList(nn.Embedding(n, width) for _ in range(k))
        self.positions = nn.Embedding(longest, width)
        block = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.heads = nn.ModuleList(nn.Linear(width, n) for _ in range(k))

    def forward(self, rows):
        """Rows [B, n, K] to logits [B, n, K, vocabulary] of the next rows."""
        x = sum(embed(rows[..., k]) for k, embed in enumerate(self.ids))
        x = x + self.positions(torch.arange(rows.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(rows.shape[1])
        x = self.blocks(x, mask=mask, is_causal=True)
        return torch.stack([head(x) for head in self.heads], 2)


def train(model, clips, layout, n_frames, steps):
    """Random crops of ``n_frames``; returns the loss of each step."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), 3e-3), []
    for _ in range(steps):
        crops = []
        for i in torch.randint(len(clips), (8,)):
            codes = clips[i]
            start = int(torch.randint(max(1, codes.shape[1] - n_frames), ()))
            crops.append(apply(codes[:, start : start + n_frames], layout))
        ids, mask = map(torch.from_numpy, batch(crops, layout.padding))
        logits = model(ids[:, :-1])[mask[:, 1:]]  # [rows, K, vocabulary]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:][mask[:, 1:]].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def sample(model, layout, n_rows, temperature=0.8):
    rows = torch.full((1, 1, layout.n_codebooks), layout.begin)
    for _ in range(n_rows):
        share = torch.softmax(model(rows)[0, -1] / temperature, -1)
        rows = torch.cat([rows, torch.multinomial(share, 1).T[None]], 1)
    return rows[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tokens", help="a folder of dacodec tokenize, in Parquet, of mono recordings")
    parser.add_argument("output", help="a WAV file")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3, help="of a crop, and of what is sampled")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    arguments = parser.parse_args()
    torch.manual_seed(0)

    codec = Codec.from_pretrained("builtin")
    rows = pq.read_table(f"{arguments.tokens}/shards", columns=["codes"]).column("codes").to_pylist()
    clips = [torch.tensor(codes) for codes in rows]
    layout = delayed(len(clips[0]), codec.model.codebook_size)
    n_frames = round(arguments.seconds * codec.model.frames_per_second)
    longest = n_frames + layout.max_delay + 2
    model = TinyGPT(layout, arguments.width, arguments.depth, longest)
    losses = train(model, clips, layout, n_frames, arguments.steps)
    print(f"loss {losses[0]:.2f} to {sum(losses[-10:]) / len(losses[-10:]):.2f}")

    said = invert(sample(model, layout, longest - 1), layout, lenient=True)
    print(f"{said.codes.shape[1]} frames, {len(said.bad)} ids that are not codes, cut: {said.cut}")
    audio = codec.decode(codec.from_codes(said.codes))
    soundfile.write(arguments.output, audio.reshape(-1), codec.sampling_rate)


if __name__ == "__main__":
    main()
