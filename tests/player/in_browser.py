"""The player in Debian's Chromium, as `make player-test` built it in build/player-test. Not collected by `make test`."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import playwright.sync_api as playwright
import pytest
from playing import BAD, CLIPS, GOLDEN, ROOT, Handler, chromium, serving

from dacodec import Codec, Encoded
from dacodec.audio import read
from dacodec.container import Reader, Writer

BUILT = ROOT / "build/player-test"
PICTURES = os.environ.get("DACODEC_PICTURES")
PAGE_BYTES = 15e6
CLIP_SECONDS = 2.5

# Decodes in the page's own thread: [C, n] as base64 of float32.
DECODE = """async ([file, folder, second, nCodebooks]) => {
  const { Recording } = await import("/recording.mjs");
  const { blobSource } = await import("/sources.mjs");
  const { Model, decode } = await import("/decoder.mjs");
  const model = (window.models ??= {})[folder] ??= await Model.load(new URL(`/models/${folder}/`, location));
  const recording = await Recording.open(blobSource(new Blob([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))])));
  recording.setPrior(model.prior);
  const n = nCodebooks ?? recording.header.nCodebooks;
  const began = performance.now();
  const parts = [];
  for await (const part of decode(recording, model, second, n)) parts.push(part);
  const spent = (performance.now() - began) / 1000;
  const channels = parts[0].channels.map((_, c) => {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 * part.channels[c].length, 0));
    let at = 0;
    for (const part of parts) { bytes.set(new Uint8Array(part.channels[c].slice().buffer), at); at += 4 * part.channels[c].length; }
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  });
  return { start: parts[0].start, spent, channels };
}"""


@pytest.fixture(scope="module")
def address():
    with serving(BUILT) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium(playwright) as browser:
        yield browser


@pytest.fixture
def page(browser, address, request):
    context = browser.new_context(**getattr(request, "param", {}))
    page = context.new_page()
    page.problems, page.asked = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: page.asked.append(request.url))
    page.set_default_timeout(180000)
    page.goto(f"{address}/index.html")
    yield page
    context.close()


@pytest.fixture(scope="module")
def codec():
    return Codec.from_pretrained("builtin", threads=1)


@pytest.fixture(scope="module")
def clips(codec):
    """Encoded real clips: speech that is resampled, stereo at the model's rate, stereo at another one as mid and side."""
    made = {}
    for name, options in (
        ("speech_en_cards_16k", {}),
        ("music_guitar_em9_44k_st", {}),
        ("music_guitar_strum_96k_24bit_st", {"mid_side": True, "n_quantizers": 5}),
    ):
        given = read(CLIPS / f"{name}.flac")
        samples = given.samples[:, : round(CLIP_SECONDS * given.sampling_rate)]
        made[name] = codec.encode(samples, given.sampling_rate, **options)
    return made


def file_of(encoded, tmp_path):
    encoded.save(tmp_path / "x.dacz", overwrite=True)
    return (tmp_path / "x.dacz").read_bytes()


def decoded(page, data, folder="small-3", second=0, n_codebooks=None):
    told = page.evaluate(DECODE, [base64.b64encode(data).decode(), folder, second, n_codebooks])
    audio = np.stack([np.frombuffer(base64.b64decode(c), np.float32) for c in told["channels"]])
    return audio, told


def until(page, holds, seconds=180):
    end = time.monotonic() + seconds
    while not page.evaluate(
        f"(() => {{ const player = document.querySelector('dacz-audio'); return {holds}; }})()"
    ):
        assert time.monotonic() < end, (holds, player(page, "find('section').innerText"))
        page.wait_for_timeout(50)


def player(page, expression):
    return page.evaluate(f"document.querySelector('dacz-audio').{expression}")


def load(page, data, wait="player.isReady"):
    page.evaluate(
        "(file) => document.querySelector('dacz-audio').load(Uint8Array.from(atob(file), (c) => c.charCodeAt(0)))",
        base64.b64encode(data).decode(),
    )
    until(page, wait)


def alert(page):
    return player(
        page, "find('.alert').hidden ? '' : document.querySelector('dacz-audio').find('.alert').textContent"
    )


def picture(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)


@pytest.mark.parametrize("name", ["speech-raw", "speech-coded", "speech-live", "guitar-mid-side"])
def test_golden_files_sound_as_in_python(page, name):
    audio, _ = decoded(page, (GOLDEN / f"{name}.dacz").read_bytes(), "model")
    expected = np.load(GOLDEN / f"{name.split('-')[0]}.npy")
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-4)


def test_clips_sound_as_in_python(page, codec, clips, tmp_path):
    for name, encoded in clips.items():
        audio, told = decoded(page, file_of(encoded, tmp_path))
        expected = np.atleast_2d(codec.decode(encoded))
        worst = float(np.abs(audio - expected).max())
        print(
            f"{name}: largest difference {worst:.1e}, {CLIP_SECONDS * len(audio) / told['spent']:.2f} x real time"
        )
        assert audio.shape == expected.shape
        assert worst < 1e-4


def test_a_part_is_the_wholes(page, codec, clips, tmp_path):
    for name in ("speech_en_cards_16k", "music_guitar_em9_44k_st"):
        encoded = clips[name]
        audio, told = decoded(page, file_of(encoded, tmp_path), second=1.3)
        assert told["start"] == round(1.3 * encoded.sampling_rate)
        expected = np.atleast_2d(codec.decode(encoded))[:, told["start"] :]
        np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-4)


def test_fewer_codebooks(page, codec, clips, tmp_path):
    encoded = clips["speech_en_cards_16k"]
    audio, _ = decoded(page, file_of(encoded, tmp_path), n_codebooks=3)
    fewer = Encoded(
        encoded.codes[:, :3], encoded.sampling_rate, encoded.n_samples, encoded.model, encoded.gain
    )
    np.testing.assert_allclose(audio, np.atleast_2d(codec.decode(fewer)), rtol=0, atol=1e-4)


def test_lost_packets_sound_as_in_python(page, codec, clips, tmp_path):
    for name in ("speech_en_cards_16k", "music_guitar_em9_44k_st"):
        data = bytearray(file_of(clips[name], tmp_path))
        second = data.index(b"\xda\xc5", data.index(b"\xda\xc5") + 2)
        data[second + 40] ^= 1
        (tmp_path / "x.dacz").write_bytes(data)
        audio, _ = decoded(page, bytes(data))
        codec.decode_file(
            tmp_path / "x.dacz", tmp_path / "x.wav", overwrite=True, conceal=True, subtype="FLOAT"
        )
        np.testing.assert_allclose(audio, read(tmp_path / "x.wav").samples, rtol=0, atol=1e-4)


def test_it_plays_to_the_end(page, address, clips, tmp_path):
    encoded = clips["speech_en_cards_16k"]
    data = file_of(encoded, tmp_path)
    load(page, data)
    facts = player(page, "find('#facts').innerText")
    assert f"{len(data) * 8 / encoded.duration_seconds / 1000:.2f} kbit/s" in facts
    assert "small-3" in facts
    assert "0:02.5" in facts
    page.evaluate(
        "window.clicked = performance.now(); document.querySelector('dacz-audio').find('#play').click()"
    )
    until(page, "player.playback?.firstSound")
    print(f"first sound {player(page, 'playback.firstSound') - page.evaluate('clicked'):.0f} ms after play")
    assert player(page, "find('#play').getAttribute('aria-label')") == "Pause"
    until(page, "player.find('.status').textContent === 'Ended'")
    picture(page, "desktop")
    assert colours(page) > 50
    assert page.problems == []
    assert all(url.startswith((address, "blob:", "data:")) for url in page.asked), page.asked


def colours(page):
    return page.evaluate(
        """() => {
          const canvas = document.querySelector("dacz-audio").find("canvas");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer;
          return new Set(new Uint32Array(pixels)).size;
        }"""
    )


def test_it_seeks_and_takes_fewer_codebooks_while_it_plays(page, clips, tmp_path):
    load(page, file_of(clips["music_guitar_em9_44k_st"], tmp_path))
    page.evaluate("document.querySelector('dacz-audio').play()")
    until(page, "player.position > 0.1")
    player(page, "seek(1.5)")
    until(page, "player.position > 1.55 || player.find('.status').textContent === 'Ended'")
    player(page, "seek(0.5)")
    page.evaluate(
        """() => {
          const slider = document.querySelector("dacz-audio").find("#codebooks");
          slider.value = 2;
          slider.dispatchEvent(new Event("input"));
        }"""
    )
    assert player(page, "find('#codebooks-out').textContent").startswith("2 of 9, 3.45 kbit/s")
    until(page, "player.position > 0.7 || player.find('.status').textContent === 'Ended'")
    assert page.problems == []


def test_damage_is_told_and_the_rest_is_played(page, clips, tmp_path):
    data = bytearray(file_of(clips["speech_en_cards_16k"], tmp_path))
    second = data.index(b"\xda\xc5", data.index(b"\xda\xc5") + 2)
    data[second + 40] ^= 1
    load(page, bytes(data))
    assert f"(at byte {second})" in alert(page)
    picture(page, "damaged")
    page.evaluate("document.querySelector('dacz-audio').play()")
    until(page, "player.find('.status').textContent === 'Ended'")
    assert page.problems == []


def test_bad_files_are_answered(page):
    for path in sorted(BAD.glob("*.dacz")):
        load(page, path.read_bytes(), "!player.find('.alert').hidden")
        assert "This file" in alert(page), path
        assert not player(page, "isReady")
    offsets = json.loads((BAD / "bad_files.json").read_text())
    load(page, (BAD / "hop_length-0.dacz").read_bytes(), "!player.find('.alert').hidden")
    assert f"(at byte {offsets['hop_length-0']})" in alert(page)
    picture(page, "refused")
    assert page.problems == []


def test_a_dropped_file_and_an_address(page, address, clips, tmp_path):
    data = file_of(clips["speech_en_cards_16k"], tmp_path)
    (tmp_path / "chosen.dacz").write_bytes(data)
    page.set_input_files("#file", str(tmp_path / "chosen.dacz"))
    until(page, "player.isReady")
    page.evaluate(
        """async (file) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))], "x.dacz"));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true, bubbles: true }));
        }""",
        base64.b64encode((GOLDEN / "speech-coded.dacz").read_bytes()).decode(),
    )
    until(page, "player.isReady && player.facts.model === 'golden'")
    assert "cards/005" in player(page, "find('#facts').innerText")  # a tag
    page.fill("#url", f"{address}/missing.dacz")
    page.click("form button")
    until(page, "!player.find('.alert').hidden")
    assert "404" in alert(page)
    page.fill("#url", "http://")
    page.click("form button")
    until(page, "player.find('.alert').textContent.includes('not an address')")


def test_a_long_recording_on_a_server_is_read_where_it_is_played(page, address, clips, tmp_path):
    once = clips["speech_en_cards_16k"]
    codes = np.tile(once.codes, (1, 1, 600))  # 25 minutes
    header = Reader(io.BytesIO(file_of(once, tmp_path))).header
    header = replace(header, n_samples=codes.shape[2] * 512 * 16000 // 44100, prior_id=None)
    with (BUILT / "long.dacz").open("wb") as file, Writer(file, header, index=True) as writer:
        writer.write(codes)
    size = (BUILT / "long.dacz").stat().st_size
    Handler.asked.clear()
    player(page, f"load('{address}/long.dacz')")
    until(page, "player.isReady")
    player(page, "seek(1200)")
    page.evaluate("window.clicked = performance.now(); document.querySelector('dacz-audio').play()")
    until(page, "player.position > 1200.2")
    ranges = [one.removeprefix("bytes=").split("-") for one in Handler.asked if one]
    asked = sum(int(end) + 1 - int(start) for start, end in ranges)
    print(
        f"{asked} of {size} bytes; first sound {player(page, 'playback.firstSound') - page.evaluate('clicked'):.0f} ms"
    )
    assert asked < size / 4
    assert page.problems == []


def test_two_lines_put_it_on_any_page(browser, address, clips, tmp_path):
    (BUILT / "clip.dacz").write_bytes(file_of(clips["speech_en_cards_16k"], tmp_path))
    page = browser.new_page()
    page.set_default_timeout(180000)
    page.route(
        "**/other.html",
        lambda route: route.fulfill(
            content_type="text/html",
            body='<script type="module" src="dacz-audio.mjs"></script><dacz-audio src="clip.dacz"></dacz-audio>',
        ),
    )
    page.goto(f"{address}/other.html")
    until(page, "player.isReady")
    page.close()


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ({"color_scheme": "dark"}, "dark"),
        ({"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}, "phone"),
        ({"viewport": {"width": 320, "height": 700}, "color_scheme": "dark"}, "small-phone-dark"),
    ],
    indirect=["page"],
)
def test_other_screens(page, name, clips, tmp_path):
    load(page, file_of(clips["speech_en_cards_16k"], tmp_path))
    page.evaluate("document.querySelector('dacz-audio').play()")
    until(page, "player.position > 1 || player.find('.status').textContent === 'Ended'")
    picture(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_page_with_its_model_is_small():
    extra = sum(path.stat().st_size for path in (BUILT / "models/model").iterdir())
    paths = [path for path in BUILT.rglob("*") if path.is_file() and path.suffix != ".dacz"]
    size = sum(path.stat().st_size for path in paths) - extra
    print(f"{size / 1e6:.1f} MB")
    assert size < PAGE_BYTES


def test_the_readmes_javascript_runs(tmp_path):
    """In Node.js, with the ONNX Runtime that the player has."""
    run = ["dacodec", "export", "builtin", "-o", tmp_path / "export"]
    subprocess.run([Path(sys.executable).with_name(run[0]), *run[1:]], check=True, capture_output=True)
    readme = (tmp_path / "export/README.md").read_text()
    (tmp_path / "export/x.mjs").write_text(re.search(r"```javascript\n(.*?)```", readme, re.DOTALL)[1])
    (tmp_path / "export/node_modules").symlink_to(ROOT / "build/npm/node_modules")
    ran = subprocess.run(
        ["node", "x.mjs"], cwd=tmp_path / "export", capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[0] == "[ 1, 9, 86 ] [ 1, 1, 44032 ]"
