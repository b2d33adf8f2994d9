"""Tiny models of the released shapes, for tests of everything around the model."""

from weights import random_weights

from dacodec import DacConfig, DacModel

SHAPES = {
    "44khz": dict(downsampling_ratios=(2, 4, 8, 8), sampling_rate=44100, n_codebooks=9),
    "24khz": dict(downsampling_ratios=(2, 4, 5, 8), sampling_rate=24000, n_codebooks=4),
    "16khz": dict(downsampling_ratios=(2, 4, 5, 8), sampling_rate=16000, n_codebooks=12),
    "odd": dict(downsampling_ratios=(3, 5), sampling_rate=8000, n_codebooks=2, decoder_hidden_size=16),
}


def save_model(folder, seed=1, **changes):
    """A model folder with random, variance-preserving weights."""
    config = DacConfig(**(dict(encoder_hidden_size=4, decoder_hidden_size=32, codebook_size=64) | changes))
    model = DacModel(config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    model.load_state_dict(random_weights(shapes, seed))
    model.save_pretrained(folder)
    return folder
