"""Makes folders saved by transformers itself, for the ordinary test run.

    PYTHONPATH=tests .venv-hf4/bin/python tests/checkpoint/make_checkpoint_data.py hf4
    PYTHONPATH=tests .venv-hf5/bin/python tests/checkpoint/make_checkpoint_data.py hf5

writes to tests/checkpoint/data: <name>, a small model and a feature extractor saved by save_pretrained;
<name>_weight_norm, the same model after apply_weight_norm; <name>_expected.safetensors, audio and the model's
outputs for it. config.json holds the version of transformers.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import DacConfig, DacFeatureExtractor, DacModel
from weights import random_audio, random_weights

DATA = Path(__file__).parent / "data"


def main(name):
    config = DacConfig(
        encoder_hidden_size=2,
        downsampling_ratios=[2, 3],
        decoder_hidden_size=4,
        n_codebooks=3,
        codebook_size=16,
        codebook_dim=2,
        sampling_rate=24000,
    )
    model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed=1))
    model.eval()
    model.save_pretrained(DATA / name)
    DacFeatureExtractor(sampling_rate=24000, hop_length=6).save_pretrained(DATA / name)

    audio = random_audio(2, batch=1, length=60)
    with torch.no_grad():
        output = model(audio)
    tensors = {
        "audio": audio,
        "audio_codes": output.audio_codes.to(torch.int16),
        "audio_values": output.audio_values,
    }
    save_file(tensors, DATA / f"{name}_expected.safetensors")

    model.apply_weight_norm()
    model.save_pretrained(DATA / f"{name}_weight_norm")


if __name__ == "__main__":
    main(sys.argv[1])
