"""A signal in pieces gives the result of the whole, in float64 to the last digits; and its cost."""

import pickle
from itertools import cycle

import numpy as np
import pytest
import torch
from models import SHAPES, save_model
from torch.utils.flop_counter import FlopCounterMode

from dacodec import DacModel
from dacodec.engine import NativeEngine, TorchEngine, pieces
from dacodec.engine.native.library import is_built
from dacodec.engine.pieces import decoder_in_pieces, encoder_in_pieces

MORE_SHAPES = {
    **SHAPES,
    "five strides": dict(downsampling_ratios=(3, 2, 2, 4, 5), n_codebooks=3),
    "one stride": dict(downsampling_ratios=(7,), n_codebooks=3),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {
        name: DacModel.from_pretrained(save_model(tmp_path_factory.mktemp("model"), **shape)).double().eval()
        for name, shape in MORE_SHAPES.items()
    }


def in_pieces(chain, x, sizes):
    """Pushed in pieces of ``sizes``, cycled; the state is pickled in between."""
    outputs, state, position, sizes = [], None, 0, cycle(sizes)
    while position < x.shape[-1]:
        piece = x[..., position : position + next(sizes)]
        position += piece.shape[-1]
        output, state = chain.push(piece, pickle.loads(pickle.dumps(state)), position == x.shape[-1])
        outputs.append(output)
    return torch.cat(outputs, -1)


def errors(model, encode_sizes, decode_sizes):
    """Largest error of latents and of audio, relative to their rms."""
    torch.manual_seed(0)
    audio = torch.randn(2, 1, 30 * model.config.hop_length, dtype=torch.float64)
    with torch.inference_mode():
        latents = model.encoder(audio)
        pairs = [
            (in_pieces(encoder_in_pieces(model.encoder), audio, encode_sizes), latents),
            (in_pieces(decoder_in_pieces(model.decoder), latents, decode_sizes), model.decoder(latents)),
        ]
    for piece, whole in pairs:
        assert piece.shape == whole.shape
    return [float((a - b).abs().max() / b.square().mean().sqrt()) for a, b in pairs]


@pytest.mark.parametrize("name", MORE_SHAPES)
@pytest.mark.parametrize("sizes", ["hop", "odd", "random", "bursts"])
def test_pieces_are_the_whole(models, name, sizes):
    model = models[name]
    hop = model.config.hop_length
    random = np.random.default_rng(1)
    encode_sizes, decode_sizes = {
        "hop": ([hop], [1]),
        "odd": ([hop + 1], [2]),
        "random": (
            [*random.integers(0, 3 * hop, 50).tolist(), hop],
            [*random.integers(0, 5, 50).tolist(), 1],
        ),
        "bursts": ([1, 0, 1, 20 * hop], [1, 0, 20]),
    }[sizes]
    assert max(errors(model, encode_sizes, decode_sizes)) < 1e-12


def test_one_sample_at_a_time(models):
    assert max(errors(models["odd"], [1], [1])) < 1e-12


MUTATIONS = {
    "one input forgotten": (pieces.Convolution, "state", lambda state: torch.roll(state, 1, -1)),
    "nothing remembered": (pieces.Convolution, "state", torch.zeros_like),
    "another last input": (pieces.TransposedConvolution, "state", torch.zeros_like),
    "what waits, late": (pieces.Residual, "state", lambda state: (state[0], torch.roll(state[1], 1, -1))),
    "phase": (pieces.Convolution, "x", lambda x: torch.roll(x, 1, -1)),
}


@pytest.mark.parametrize("name", ["44khz", "odd"])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_it_shows_what_is_wrong(models, name, mutation, monkeypatch):
    layer, what, change = MUTATIONS[mutation]
    push = layer.push

    def mutated(self, x, state, end):
        if state is not None and x.shape[-1]:
            x, state = (change(x), state) if what == "x" else (x, change(state))
        return push(self, x, state, end)

    monkeypatch.setattr(layer, "push", mutated)
    hop = models[name].config.hop_length
    encoding, decoding = errors(models[name], [2 * hop], [2])
    only_decoding = layer is pieces.TransposedConvolution
    assert decoding > 1e-9
    assert only_decoding or encoding > 1e-9


@pytest.mark.parametrize("name", ["44khz", "16khz"])
def test_a_frame_at_a_time_costs_little_more(models, name):
    """Multiply-adds, as counted by FlopCounterMode."""
    model = models[name]
    hop, n_frames = model.config.hop_length, 40  # start and end included
    audio = torch.randn(1, 1, n_frames * hop, dtype=torch.float64)
    latents = torch.randn(1, model.config.hidden_size, n_frames, dtype=torch.float64)

    def count(run, *args):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run(*args)
        return counter.get_total_flops()

    assert count(in_pieces, encoder_in_pieces(model.encoder), audio, [hop]) <= 1.3 * count(
        model.encoder, audio
    )
    assert count(in_pieces, decoder_in_pieces(model.decoder), latents, [1]) <= 1.3 * count(
        model.decoder, latents
    )


@pytest.mark.parametrize("name", SHAPES)
def test_frames_come_as_soon_as_their_inputs_are_there(models, name):
    """Outputs wait for exactly the look-ahead that geometry states."""
    model = models[name]
    geometry, hop = model.geometry, model.config.hop_length
    audio = torch.randn(1, 1, 40 * hop, dtype=torch.float64)
    enough = 20 * hop + geometry.encoder_lookahead  # for 20 frames
    encoder, decoder = encoder_in_pieces(model.encoder), decoder_in_pieces(model.decoder)
    with torch.inference_mode():
        assert encoder.push(audio[..., :enough], None, False)[0].shape[-1] == 20
        assert encoder.push(audio[..., : enough - 1], None, False)[0].shape[-1] == 19
        latents = torch.randn(
            1, model.config.hidden_size, 20 + geometry.decoder_lookahead, dtype=torch.float64
        )
        made = decoder.push(latents, None, False)[0].shape[-1]
        assert 20 * hop <= made < 21 * hop


ENGINES = ["torch", *(["fast", "exact"] if is_built() else [])]


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("name", SHAPES)
def test_engines_push_what_they_make_of_the_whole(engine_name, name, tmp_path):
    model = DacModel.from_pretrained(save_model(tmp_path, **SHAPES[name]))
    engine = TorchEngine(model) if engine_name == "torch" else NativeEngine(model, engine_name)
    hop, n = model.config.hop_length, model.config.n_codebooks
    audio = 0.3 * torch.randn(2, 50 * hop, generator=torch.Generator().manual_seed(3))
    codes = engine.encode(audio, None, n - 1)
    parts, state = [], None
    for position in range(0, 50 * hop, 3 * hop + 1):
        piece = audio[:, position : position + 3 * hop + 1]
        pushed = engine.push_audio(
            piece, pickle.loads(pickle.dumps(state)), n - 1, position + 3 * hop + 1 >= 50 * hop
        )
        parts.append(pushed.output)
        state = pushed.state
    assert (torch.cat(parts, 2) == codes).float().mean() >= (1 if engine_name != "fast" else 0.999)
    whole, parts, state = engine.decode(codes), [], None
    for position in range(0, codes.shape[2], 4):
        pushed = engine.push_codes(
            codes[:, :, position : position + 4], state, position + 4 >= codes.shape[2]
        )
        parts.append(pushed.output)
        state = pushed.state
    made = torch.cat(parts, 1)
    assert made.shape == whole.shape
    assert (made - whole).norm() <= 1e-5 * whole.norm()  # the rounding of "fast" depends on where tiles start
