"""Language models played while they generate. Needs transformers."""

import asyncio
import contextlib
import threading

import numpy as np
import pytest
import torch
import transformers
from integration_models import HOP, audio, save_small

from dacodec import Codec
from dacodec.errors import ConfigError, OutputError, RowError
from dacodec.integrations.transformers import AudioStreamer
from dacodec.tokens import LAYOUTS, Cut, Layout, apply, invert

LAYOUT = Layout("small-dia", (0, 2, 3), begin=18, end=16, padding=17, codebook_size=16, vocabulary=20)
DIA = dict(
    delay_pattern=[0, 2, 3],
    bos_token_id=18,
    eos_token_id=16,
    pad_token_id=17,
    sampling_rate=24000,
)
TEXT = ["[S1] Hello.", "[S2] Bye."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def codec(folder):
    return Codec.from_pretrained(folder)


@pytest.fixture(scope="module")
def dia(folder):
    """A tiny Dia of random weights, and its processor."""
    torch.manual_seed(3)
    small = dict(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=8,
    )
    config = transformers.DiaConfig(
        encoder_config=dict(small, num_key_value_heads=2, vocab_size=256),
        decoder_config=dict(
            small,
            num_key_value_heads=1,
            cross_num_attention_heads=2,
            cross_head_dim=8,
            cross_num_key_value_heads=2,
            cross_hidden_size=16,
            vocab_size=20,
            num_channels=3,
            bos_token_id=18,
            eos_token_id=16,
            pad_token_id=17,
        ),
        delay_pattern=[0, 2, 3],
        # transformers 4 generates by these, 5 by those above.
        bos_token_id=18,
        eos_token_id=16,
        pad_token_id=17,
    )
    model = transformers.DiaForConditionalGeneration(config).eval()
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=18, eos_token_id=16, pad_token_id=17, decoder_start_token_id=18, max_length=40
    )
    extractor = transformers.DiaFeatureExtractor(sampling_rate=24000, hop_length=HOP)
    tokenizer = transformers.DiaTokenizer()
    codec = transformers.DacModel.from_pretrained(folder, dtype=torch.float32)
    return model, transformers.DiaProcessor(extractor, tokenizer, audio_tokenizer=codec)


class Heard:
    """Collects the audio of a batch."""

    def __init__(self, n=1):
        self.pieces = [[] for _ in range(n)]
        self.on_audio = [self._hear(pieces) for pieces in self.pieces]

    def _hear(self, pieces):
        def hear(samples, sampling_rate):
            assert sampling_rate == 24000
            assert samples.dtype == np.float32
            assert len(samples) == 1
            assert samples.shape[1] > 0
            pieces.append(samples)

        return hear

    def whole(self, i=0):
        return np.concatenate([np.zeros((1, 0), np.float32), *self.pieces[i]], axis=1)


def decoded(codec, codes):
    return codec.decode(codec.from_codes(codes))[None]


def generated_after(rows, n_prompt):
    """The new rows among those that generate returns, [n, K]."""
    return invert(rows[n_prompt:], LAYOUT).codes


@pytest.mark.parametrize("how", [dict(do_sample=False), dict(do_sample=True)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("voice", [False, True], ids=["text", "voice"])
def test_dia_is_heard_as_its_processor_decodes_it(codec, dia, how, voice):
    model, processor = dia
    spoken = [audio(frames=9, seed=1)[0, 0].numpy(), audio(frames=9, seed=2)[0, 0].numpy()]
    inputs = processor(text=TEXT, **(dict(audio=spoken) if voice else {}), **DIA)
    n_prompt = processor.get_audio_prompt_len(inputs["decoder_attention_mask"], **DIA)
    heard = Heard(2)
    torch.manual_seed(5)
    streamer = AudioStreamer(codec, heard.on_audio, layout=LAYOUT)
    output = model.generate(**inputs, **how, max_length=40, streamer=streamer)
    theirs = processor.batch_decode(output, audio_prompt_len=n_prompt, **DIA)
    lengths = []
    for i, rows in enumerate(output.numpy()):
        codes = generated_after(rows, n_prompt)
        lengths.append(codes.shape[1])
        np.testing.assert_allclose(heard.whole(i), decoded(codec, codes), rtol=0, atol=1e-5)
        assert streamer.bad[i] == []
        n = codes.shape[1] * HOP  # their processor decodes the same number of frames for all, ended or not
        assert abs(len(theirs[i]) - n) <= max(DIA["delay_pattern"]) * HOP
        reach = 40
        np.testing.assert_allclose(
            heard.whole(i)[0, : n - reach], theirs[i].numpy()[: n - reach], rtol=0, atol=1e-4
        )
    assert min(lengths) > 0
    assert max(lengths) >= 8  # where a random model ends depends on the version of transformers


def test_the_prompt_is_heard_if_wanted(codec, dia):
    model, processor = dia
    spoken = [audio(frames=9, seed=1)[0, 0].numpy(), audio(frames=5, seed=2)[0, 0].numpy()]
    inputs = processor(text=TEXT, audio=spoken, **DIA)
    heard = Heard(2)
    streamer = AudioStreamer(
        codec, heard.on_audio, LAYOUT, skip_prompt=False, prompt=inputs["decoder_input_ids"]
    )
    output = model.generate(**inputs, do_sample=False, max_length=40, streamer=streamer)
    for i, rows in enumerate(output.numpy()):
        np.testing.assert_allclose(
            heard.whole(i), decoded(codec, invert(rows, LAYOUT).codes), rtol=0, atol=1e-5
        )
    with pytest.raises(ConfigError, match="prompt=inputs"):
        model.generate(
            **inputs, max_length=40, streamer=AudioStreamer(codec, heard.on_audio, LAYOUT, skip_prompt=False)
        )


def rows_and_audio(codec, n_frames=40, layout=LAYOUT, seed=0):
    codes = np.random.default_rng(seed).integers(0, layout.codebook_size, (layout.n_codebooks, n_frames))
    return apply(codes, layout), decoded(codec, codes)


def say(streamer, rows, shape=(1, -1, 1)):
    """Calls a streamer as generate does."""
    streamer.put(torch.from_numpy(rows[0].reshape(shape)))
    for row in rows[1:]:
        streamer.put(torch.from_numpy(row))
    streamer.end()


@pytest.mark.parametrize("shape", [(1, 3, 1), (1, 1, 3), (3, 1), (3,)], ids=str)
def test_prompts_in_every_shape_that_models_give(codec, shape):
    rows, expected = rows_and_audio(codec)
    heard = Heard()
    streamer = AudioStreamer(codec, heard.on_audio[0], LAYOUT)
    for _ in range(2):  # one after another
        heard.pieces[0].clear()
        say(streamer, rows, shape)
        np.testing.assert_allclose(heard.whole(), expected, rtol=0, atol=1e-5)
        assert streamer.cut == [Cut(0, 0, 0)]


@pytest.mark.parametrize("name", ["parler-tts", "higgs-audio", "dia"])
def test_released_layouts(name):
    layout, codec = LAYOUTS[name], Codec.from_pretrained("builtin")
    rows, expected = rows_and_audio(codec, 30, layout)
    heard = []
    streamer = AudioStreamer(codec, lambda samples, _: heard.append(samples), name)
    if layout.has_text:  # Higgs passes the ids of text in the prompt, and of text in between
        streamer.put(torch.zeros(1, 7, dtype=torch.long))
        streamer.put(torch.tensor([128013]))
        say_rest = rows
    else:
        streamer.put(torch.from_numpy(rows[0])[:, None])
        say_rest = rows[1:]
    for row in say_rest:
        streamer.put(torch.from_numpy(row))
    streamer.end()
    np.testing.assert_allclose(np.concatenate(heard, axis=1), expected, rtol=0, atol=1e-4)


def test_the_first_sound_comes_after_the_delay_and_the_look_ahead_and_not_a_row_later():
    codec, layout = Codec.from_pretrained("builtin"), LAYOUTS["dia"]
    rows, _ = rows_and_audio(codec, 60, layout)
    for seconds, frames in [(None, codec.geometry.decoder_lookahead), (0, 1)]:
        sounded = threading.Event()
        streamer = AudioStreamer(codec, lambda *_, s=sounded: s.set(), layout, lookahead_seconds=seconds)
        streamer.put(torch.from_numpy(rows[:1].T))
        needed = layout.max_delay + frames
        for row in rows[1:needed]:
            streamer.put(torch.from_numpy(row))
        assert not sounded.wait(0.3)
        streamer.put(torch.from_numpy(rows[needed]))
        assert sounded.wait(60)
        streamer.end()


def test_an_iterator(codec):
    rows, expected = rows_and_audio(codec)
    streamer = AudioStreamer(codec, layout=LAYOUT, max_rows=2)
    for _ in range(2):
        thread = threading.Thread(target=say, args=(streamer, rows))
        thread.start()
        pieces = list(streamer)
        thread.join()
        assert {(p.sampling_rate, p.sequence) for p in pieces} == {(24000, 0)}
        np.testing.assert_allclose(
            np.concatenate([p.audio for p in pieces], axis=1), expected, rtol=0, atol=1e-5
        )


def test_an_asynchronous_iterator(codec):
    rows, expected = rows_and_audio(codec)

    async def listen():
        streamer = AudioStreamer(codec, layout=LAYOUT)
        thread = threading.Thread(target=say, args=(streamer, rows))
        thread.start()
        return [piece.audio async for piece in streamer]

    np.testing.assert_allclose(np.concatenate(asyncio.run(listen()), axis=1), expected, rtol=0, atol=1e-5)


def test_a_model_waits_for_who_listens(codec):
    rows, expected = rows_and_audio(codec, 200)
    streamer, n_put = AudioStreamer(codec, layout=LAYOUT, max_rows=4), [0]

    def speak():
        streamer.put(torch.from_numpy(rows[:1].T))
        for row in rows[1:]:
            streamer.put(torch.from_numpy(row))
            n_put[0] += 1
        streamer.end()

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join(1)
    assert thread.is_alive()
    assert n_put[0] < 100
    heard = np.concatenate([piece.audio for piece in streamer], axis=1)
    thread.join()
    np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-5)


def test_who_is_late_takes_larger_steps(codec):
    rows, expected = rows_and_audio(codec, 100)
    heard, may_go_on = Heard(), threading.Event()

    def hear(samples, sampling_rate):
        heard.on_audio[0](samples, sampling_rate)
        may_go_on.wait(60)

    streamer = AudioStreamer(codec, hear, LAYOUT)
    streamer.put(torch.from_numpy(rows[:1].T))
    for row in rows[1:]:
        streamer.put(torch.from_numpy(row))
    may_go_on.set()
    streamer.end()
    assert len(heard.pieces[0]) < 30
    np.testing.assert_allclose(heard.whole(), expected, rtol=0, atol=1e-5)


def test_an_exception_of_the_listener_reaches_the_caller_of_generate(codec, dia):
    model, processor = dia
    inputs = processor(text=TEXT[:1], **DIA)

    def no(samples, sampling_rate):
        raise KeyError("no loudspeaker")

    with pytest.raises(KeyError, match="no loudspeaker"):
        model.generate(**inputs, do_sample=False, max_length=40, streamer=AudioStreamer(codec, no, LAYOUT))


def test_a_listener_that_goes_away_stops_the_model(codec):
    rows, _ = rows_and_audio(codec, 400)
    streamer, errors = AudioStreamer(codec, layout=LAYOUT, max_rows=2), []

    def speak():
        try:
            say(streamer, rows)
        except OutputError as error:
            errors.append(error)

    thread = threading.Thread(target=speak)
    thread.start()
    listening = iter(streamer)
    next(listening)
    listening.close()
    thread.join(60)
    assert "nobody listens" in str(errors[0])


def test_a_model_that_fails_is_told_to_who_listens_after_the_audio_so_far(codec):
    rows, _ = rows_and_audio(codec)
    streamer = AudioStreamer(codec, layout=LAYOUT)

    def speak():
        with contextlib.suppress(MemoryError), streamer:
            streamer.put(torch.from_numpy(rows[:1].T))
            for row in rows[1:30]:
                streamer.put(torch.from_numpy(row))
            raise MemoryError("no more of it")

    threading.Thread(target=speak).start()
    heard = []

    def listen():
        for piece in streamer:
            heard.append(piece.audio)

    with pytest.raises(MemoryError, match="no more of it"):
        listen()
    expected = decoded(codec, invert(rows[:30], LAYOUT).codes)
    np.testing.assert_allclose(np.concatenate(heard, axis=1), expected, rtol=0, atol=1e-5)


def test_waiting_has_an_end(codec):
    silent = iter(AudioStreamer(codec, layout=LAYOUT, timeout_seconds=0.1))
    with pytest.raises(OutputError, match=r"no audio came for 0\.1 s"):
        next(silent)


def test_bad_ids_and_rows(codec):
    rows, _ = rows_and_audio(codec)
    rows[20, 1] = 19
    heard = Heard()
    streamer = AudioStreamer(codec, heard.on_audio, LAYOUT)
    streamer.put(torch.from_numpy(rows[:1].T))
    for row in rows[1:30]:
        streamer.put(torch.from_numpy(row))
    with pytest.raises(RowError, match="3 ids a step for each of 1 sequences") as error:
        streamer.put(torch.zeros(4, dtype=torch.long))
    assert error.value.row == 29
    assert [bad.id for bad in streamer.bad[0]] == [19]
    np.testing.assert_allclose(
        heard.whole(), decoded(codec, invert(rows[:30], LAYOUT).codes), rtol=0, atol=1e-5
    )
    streamer.put(torch.from_numpy(rows[:1].T))
    with pytest.raises(RowError, match="integers"):
        streamer.put(torch.zeros(3))


def test_what_does_not_fit_is_refused(codec):
    with pytest.raises(ConfigError, match="9 codebooks of 1024 codes, the codec 3 of 16"):
        AudioStreamer(codec, print, "dia")
    with pytest.raises(ConfigError, match="no layout is called"):
        AudioStreamer(codec, print, "dai")
    with pytest.raises(ConfigError, match="a batch of 2 needs as many"):
        AudioStreamer(codec, print, LAYOUT).put(torch.full((2, 3, 1), 18))
    with pytest.raises(RowError, match="3 codebooks"):
        AudioStreamer(codec, print, LAYOUT).put(torch.full((2, 4, 1), 18))
