"""Streams give exactly the results of the streaming API."""

import asyncio
import contextlib
import io
import json
import threading

import numpy as np
import pytest
from fastapi import WebSocketDisconnect
from serving import CLIPS, stream

from dacodec.audio import read
from dacodec.audio.pcm import pcm_bytes
from dacodec.container import Reader
from dacodec.serve.inbox import Inbox
from dacodec.serve.limits import Limits
from dacodec.tokens import apply

END = json.dumps({"end": True})


def cut(data, *sizes):
    """``data`` in messages of these sizes, cyclically, and the end."""
    at, n, parts = 0, 0, []
    while at < len(data):
        parts.append(data[at : at + sizes[n % len(sizes)]])
        at, n = at + len(parts[-1]), n + 1
    return [*parts, END]


@pytest.fixture(scope="module")
def sound():
    samples, rate = read(CLIPS / "env_vinyl_hiss_44k_st.flac")
    return samples[:, rate : 2 * rate], rate


def test_sound_to_packets_and_back(sound, codec, address):
    samples, rate = sound
    pcm = pcm_bytes(samples, "s16le")
    given = np.frombuffer(pcm, "<i2").reshape(-1, 2).T
    query = dict(rate=rate, channels=2, n_quantizers=5)
    (hello, end), dacz = stream(address, "/v1/stream/encode", cut(pcm, 1, 4001, 77, 50000), **query)
    assert hello["lookahead_seconds"] == codec.stream_encoder(rate).lookahead_seconds
    assert hello["latency_seconds"] > hello["lookahead_seconds"]
    expected = codec.encode(given, rate, n_quantizers=5)
    assert end == {"end": True, "n_samples": given.shape[1], "n_frames": expected.n_frames}
    reader = Reader(io.BytesIO(dacz))
    assert np.array_equal(reader.read_codes(), expected.codes)
    assert reader.n_samples == given.shape[1]

    (hello, end), audio = stream(address, "/v1/stream/decode", cut(dacz, 1, 313, 20), raw="f32le")
    assert (hello["rate"], hello["channels"], hello["n_codebooks"]) == (rate, 2, 5)
    heard = np.frombuffer(audio, "<f4").reshape(-1, 2).T
    assert end["n_samples"] == heard.shape[1] == given.shape[1]
    np.testing.assert_allclose(
        heard, codec.decode(expected), atol=2e-6
    )  # as close as live decoding is to offline decoding

    decoder, state, parts = codec.stream_decoder(rate), None, []
    for packet in Reader(io.BytesIO(dacz)):
        part, state = decoder.push(packet.codes, state, np.zeros(packet.n_frames, bool))
        parts.append(part)
    parts.append(decoder.flush(state, given.shape[1]))
    assert np.array_equal(heard, np.concatenate(parts, axis=1))  # bit for bit
    _, at_once = stream(address, "/v1/stream/decode", [dacz, END], raw="f32le")
    assert at_once == audio


def test_bare_codes(sound, codec, address):
    samples, rate = sound
    query = dict(rate=rate, channels=2, n_quantizers=3, output="codes", raw="f32le")
    _, data = stream(address, "/v1/stream/encode", cut(pcm_bytes(samples, "f32le"), 9999), **query)
    codes = np.frombuffer(data, "<u2").reshape(-1, 2, 3).transpose(1, 2, 0)
    expected = codec.encode(samples, rate, n_quantizers=3)
    assert np.array_equal(codes, expected.codes)
    query = dict(input="codes", rate=rate, channels=2, n_codebooks=3, raw="f32le")
    (_, end), audio = stream(address, "/v1/stream/decode", cut(data, 6, 12, 61), **query)
    heard = np.frombuffer(audio, "<f4").reshape(-1, 2).T
    np.testing.assert_allclose(heard[:, : samples.shape[1]], codec.decode(expected), atol=2e-6)
    assert end["n_samples"] >= samples.shape[1]


@pytest.mark.parametrize("form", ["uint16", "json"])
def test_rows_of_a_language_model(form, codec, address):
    codes = codec.encode(read(CLIPS / "speech_en_kathleen_44k.flac").samples[:, :22050], 44100).codes[0]
    rows = apply(codes, "dia")
    if form == "uint16":
        messages = cut(rows.astype("<u2").tobytes(), 18, 7, 180)
    else:
        messages = [*(json.dumps(row) for row in rows.tolist()), END]
    query = dict(layout="dia", rows=form, raw="f32le")
    (hello, end), audio = stream(address, "/v1/stream/decode", messages, **query)
    assert hello["delay_rows"] == 15
    assert end["n_bad"] == 0
    heard = np.frombuffer(audio, "<f4")
    assert len(heard) == end["n_samples"]
    np.testing.assert_allclose(heard, codec.decode(codec.from_codes(codes)), atol=2e-6)


def test_an_invalid_row_is_reported_after_the_audio_before_it(codec, address):
    rows = apply(np.random.default_rng(0).integers(0, 1024, (9, 40)), "dia").tolist()
    rows[30] = rows[30][:-1]
    (_, told), audio = stream(
        address,
        "/v1/stream/decode",
        ["\n".join(map(json.dumps, rows))],
        layout="dia",
        rows="json",
        raw="f32le",
    )
    assert told["code"] == "bad_rows"
    assert "row 30" in told["detail"]
    assert len(audio) // 4 == codec.geometry.samples(14)  # 30 rows, less a begin row and 15 rows of delay
    rows[30] = [2000, *rows[30]]
    (_, end), _ = stream(
        address, "/v1/stream/decode", [*map(json.dumps, rows), END], layout="dia", rows="json"
    )
    assert end["n_bad"] == 1
    assert end["bad"][0]["row"] == 30


def test_many_streams_beside_batches(sound, codec, address):
    samples, rate = sound
    expected = codec.encode(samples, rate)
    results = [None] * 4

    def run(i):
        query = dict(rate=rate, channels=2, output="codes", raw="f32le")
        pcm = pcm_bytes(samples, "f32le")
        _, results[i] = stream(address, "/v1/stream/encode", cut(pcm, 8 * (1000 + 100 * i)), **query)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for data in results:
        codes = np.frombuffer(data, "<u2").reshape(-1, 2, 9).transpose(1, 2, 0)
        assert np.array_equal(codes, expected.codes)


@pytest.mark.parametrize(
    ("path", "query", "messages", "code"),
    [
        ("encode", {}, ["no end"], "bad_message"),
        ("encode", {}, [b"123", END], "cut_off"),
        ("encode", dict(raw="f32le"), [np.full(3, np.nan, "<f4").tobytes(), END], "bad_audio"),
        ("decode", {}, [b"RIFF1234WAVEfmt ", END], "bad_file"),
        ("decode", {}, [END], "bad_file"),
        ("decode", {}, [b"\x00", END], "bad_file"),
        ("decode", dict(input="codes"), [b"\xff" * 18, END], "bad_codes"),
        ("decode", dict(input="codes"), [b"1", END], "cut_off"),
        ("decode", dict(layout="dia"), [b"1", END], "cut_off"),
        ("decode", dict(layout="dia", rows="json"), ["[1, 2]"], "bad_rows"),
        ("decode", dict(layout="dia", rows="json"), ["[" * 5000], "bad_rows"),
        ("decode", dict(layout="dia", rows="json"), ['["a", 1.5]'], "bad_rows"),
    ],
)
def test_invalid_data_ends_the_stream_with_a_problem(path, query, messages, code, address):
    texts, _ = stream(address, f"/v1/stream/{path}", messages, **query)
    assert texts[-1]["code"] == code, texts
    assert texts[-1]["remedy"]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("encode", dict(rate="x"), 400),
        ("encode", dict(unknown=1), 400),
        ("encode", dict(n_quantizers=10), 422),
        ("encode", dict(model="../x"), 404),
        ("decode", dict(layout="nothing"), 400),
        ("decode", dict(layout="x" * 100), 400),
        ("nothing", {}, 403),
    ],
)
def test_wrong_parameters_refuse_the_handshake(path, query, status, address):
    with pytest.raises(Exception, match=str(status)):
        stream(address, f"/v1/stream/{path}", [], **query)


def test_messages_that_have_arrived_are_joined():
    """Up to a text message, the limit for one message, or the end of the connection."""
    messages = [b"ab", b"c", '{"x": 1}', b"d", b"1234567890", b"e"]
    arrived = [{"type": "websocket.receive", "text" if isinstance(m, str) else "bytes": m} for m in messages]
    arrived.append({"type": "websocket.disconnect", "code": 1001})

    async def joined():
        queue, got = asyncio.Queue(), []
        for message in arrived:
            queue.put_nowait(message)
        inbox = Inbox(queue.get, Limits(message_bytes=10))
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                got.append(await inbox.message())
        return got

    assert asyncio.run(joined()) == [b"abc", '{"x": 1}', b"d", b"1234567890", b"e"]
