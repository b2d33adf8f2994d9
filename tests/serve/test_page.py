"""The page in a real browser: Debian's Chromium (apt-get install chromium), driven by Playwright."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from serving import CLIPS, SPEECH, STEREO, serving

from dacodec import Encoded

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page's tests need Debian's chromium")

# A folder for screenshots to look at; none are taken if it is not set.
PICTURES = os.environ.get("DACODEC_PICTURES")
# Path of axe-core's axe.min.js (npm install axe-core); if not set, the page is not checked with it.
AXE = os.environ.get("DACODEC_AXE")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address, request):
    options = getattr(request, "param", {})
    context = browser.new_context(**{"permissions": ["microphone"], "accept_downloads": True, **options})
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_default_timeout(180000)
    page.goto(address)
    until(page, "document.getElementById('model-facts').textContent.includes('kHz')")
    page.problems = errors
    yield page
    context.close()


def until(page, holds, seconds=180):
    """Wait for a condition. Playwright's wait_for_function needs eval, which the page's security policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < end, (holds, page.text_content("#alert"), page.text_content("#status"))
        page.wait_for_timeout(20)


def picture(page, name, full=True):
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=full)


def upload(page, path=STEREO):
    page.set_input_files("#file", str(path))
    done(page)


def done(page):
    until(page, "document.getElementById('status').textContent.startsWith('Done')")


def text(page, selector):
    return page.text_content(selector).strip()


def test_a_recording_there_and_back(page, codec, tmp_path):
    picture(page, "empty")
    upload(page)
    picture(page, "coded")
    codec.encode_file(STEREO, tmp_path / "x.dacz")
    for button, suffix in (("#get-dacz", "dacz"), ("#get-wav", "wav"), ("#get-json", "json")):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename.endswith(suffix)
        download.value.save_as(tmp_path / f"got.{suffix}")
    assert (tmp_path / "got.dacz").read_bytes() == (tmp_path / "x.dacz").read_bytes()
    codec.decode_file(tmp_path / "x.dacz", tmp_path / "x.wav")
    assert (tmp_path / "got.wav").read_bytes() == (tmp_path / "x.wav").read_bytes()
    encoded = Encoded.load(tmp_path / "x.dacz")
    assert json.loads((tmp_path / "got.json").read_text())["codes"] == encoded.codes.tolist()
    size = (tmp_path / "x.dacz").stat().st_size
    assert f"{size * 8 / encoded.duration_seconds / 1000:.2f} kbit/s" in text(page, "#fact-file")
    raw = encoded.codes.size * 10 / 8
    assert text(page, "#fact-saving").startswith(f"{100 * (1 - size / raw):.1f} %")
    for canvas in ("#spectrum-a", "#spectrum-b", "#codes"):
        assert colours(page, canvas) > 20
    assert page.problems == []


def colours(page, canvas):
    """The number of different colours on a canvas."""
    return page.evaluate(
        """(selector) => {
          const canvas = document.querySelector(selector), context = canvas.getContext("2d");
          const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
          return new Set(pixels).size;
        }""",
        canvas,
    )


def test_the_slider_encodes_again(page):
    upload(page, SPEECH)
    before = text(page, "#fact-codes")
    page.focus("#codebooks")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert "3 of 9" in text(page, "#codebooks-out")
    until(page, f"document.getElementById('fact-codes').textContent !== {json.dumps(before)}")
    done(page)
    with page.expect_download() as download:
        page.click("#get-dacz")
    assert Encoded.load(download.value.path()).n_codebooks == 3
    assert page.problems == []


def test_playing_switching_and_seeking(page):
    upload(page, CLIPS / "music_drum_roll_44k.flac")
    page.click("#play")
    until(page, "parseFloat(document.getElementById('seek').value) > 0.3")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press("b")
    assert page.is_checked("[name=version][value=b]")
    at = float(page.input_value("#seek"))
    until(page, f"parseFloat(document.getElementById('seek').value) > {at + 0.2}")  # still playing
    page.keyboard.press("s")
    assert page.is_checked("[name=version][value=a]")
    page.focus("body")
    page.click("#play")
    assert page.get_attribute("#play", "aria-label") == "Play"
    box = page.locator("#spectrum-b").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 10)
    length = float(page.get_attribute("#seek", "max"))
    assert abs(float(page.input_value("#seek")) - 0.75 * length) < 0.05 * length
    picture(page, "in-the-middle")
    assert page.problems == []


def test_only_the_chosen_version_is_audible(page):
    """Both versions keep playing; within milliseconds one gain is 1 and the other 0."""
    page.add_init_script(
        """window.gains = [];
        const make = AudioContext.prototype.createGain;
        AudioContext.prototype.createGain = function () { const g = make.call(this); window.gains.push(g); return g; };"""
    )
    page.reload()
    upload(page, SPEECH)
    page.check("#loop")
    page.click("#play")
    for key, expected in (("b", [0, 1]), ("a", [1, 0]), ("s", [0, 1])):
        page.keyboard.press(key)
        until(
            page,
            f"gains.map((g) => Math.round(1000 * g.gain.value) / 1000).join() === '{','.join(map(str, expected))}'",
        )
    assert page.problems == []


def test_the_blind_test(page):
    upload(page, SPEECH)
    page.click("#abx-start")
    right = 0
    for n in range(1, 6):
        page.keyboard.press("x")
        assert not page.is_checked("[name=version][value=a]")  # the page must not reveal it
        assert not page.is_checked("[name=version][value=b]")
        page.click("#abx-a")
        tally = text(page, "#abx-tally")
        right += tally.startswith("Right")
        assert f"{right} of {n} right" in tally
    picture(page, "blind-test")
    page.focus("#codebooks")  # other audio: a new test
    page.keyboard.press("Home")
    until(page, "document.getElementById('abx-tally').textContent === 'No answers yet.'")
    assert page.is_disabled("#abx-a")
    assert page.problems == []


def test_an_error_is_shown(page, tmp_path):
    (tmp_path / "notes.txt").write_text("not a recording")
    page.set_input_files("#file", str(tmp_path / "notes.txt"))
    page.wait_for_selector("#alert:visible")
    assert "audio format" in text(page, "#alert")
    assert "Send a complete recording" in text(page, "#alert")
    picture(page, "error")
    upload(page, SPEECH)
    assert page.is_hidden("#alert")


def test_after_an_error_what_is_shown_stays_in_use(page, tmp_path):
    """Also in the middle of a blind test."""
    upload(page, SPEECH)
    page.click("#abx-start")
    (tmp_path / "notes.txt").write_text("not a recording")
    page.set_input_files("#file", str(tmp_path / "notes.txt"))
    page.wait_for_selector("#alert:visible")
    assert page.is_disabled("#abx-a")
    assert page.is_checked("[name=version][value=a]")
    page.focus("#codebooks")
    page.keyboard.press("Home")
    done(page)
    assert text(page, "#name") == SPEECH.name
    with page.expect_download() as download:
        page.click("#get-dacz")
    assert Encoded.load(download.value.path()).n_codebooks == 1


def test_recording(page):
    page.click("#record")
    until(page, "/Recording, [1-9]/.test(document.getElementById('status').textContent)")
    picture(page, "recording")
    page.click("#record")
    done(page)
    assert text(page, "#name") == "recording.wav"
    assert page.problems == []


def test_example_and_drop(page, address):
    page.click("#example")
    done(page)
    page.evaluate(
        """async () => {
          const blob = await (await fetch("static/example.flac")).blob();
          const data = new DataTransfer();
          data.items.add(new File([blob], "dropped.flac"));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true, bubbles: true }));
        }"""
    )
    until(page, "document.getElementById('name').textContent === 'dropped.flac'")
    assert page.problems == []


def test_live(page):
    page.click("#tab-live")
    page.click("#live-start")
    until(page, "/ms/.test(document.getElementById('live-latency').textContent)")
    page.wait_for_timeout(2500)
    picture(page, "live")
    assert int(text(page, "#live-lookahead-out").split()[0]) > 200  # of encoder and decoder together
    assert int(text(page, "#live-latency").split()[0]) > 200
    assert text(page, "#live-rate").startswith("7.75")
    page.select_option("#live-lookahead", "0")
    until(page, "parseInt(document.getElementById('live-lookahead-out').textContent) < 50")
    page.click("#live-start")
    assert text(page, "#live-status") == "Stopped."
    assert page.problems == []


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ({"color_scheme": "dark"}, "dark"),
        ({"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}, "phone"),
        ({"viewport": {"width": 320, "height": 700}, "color_scheme": "dark"}, "small-phone-dark"),
    ],
    indirect=["page"],
)
def test_other_screens(page, name):
    upload(page)
    picture(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.click("#tab-live")
    picture(page, f"{name}-live")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    check_accessibility(page)
    page.click("#tab-file")
    check_accessibility(page)
    assert page.problems == []


def test_everything_can_be_reached_with_the_keyboard(page):
    check_accessibility(page)
    upload(page, SPEECH)
    check_accessibility(page)
    page.evaluate("document.body.focus()")
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.value"))
    for id in (
        "tab-file",
        "file",
        "record",
        "example",
        "codebooks",
        "play",
        "seek",
        "loop",
        "abx-start",
        "get-dacz",
    ):
        assert id in seen, id
    page.focus("#tab-file")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-live")
    assert page.problems == []


def check_accessibility(page):
    """Check accessibility with axe-core, if it is available."""
    if not AXE:
        return
    page.evaluate(Path(AXE).read_text())
    found = page.evaluate(
        "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))"
    )
    assert found == []


def test_the_key_is_asked_for(browser, codec, monkeypatch):
    monkeypatch.setenv("DACODEC_API_KEY", "a-key-for-the-tests-0123")
    with serving([codec]) as server:
        context = browser.new_context(permissions=["microphone"])
        page = context.new_page()
        page.set_default_timeout(180000)
        page.goto(server.address)
        page.wait_for_selector("#key-dialog[open]")
        picture(page, "key")
        page.fill("#key", "wrong-key-0123456789")
        page.click("#key-dialog button")
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "a-key-for-the-tests-0123")
        page.click("#key-dialog button")
        upload(page, SPEECH)
        page.click("#tab-live")
        page.click("#live-start")
        until(page, "/ms/.test(document.getElementById('live-latency').textContent)")
        context.close()


def test_the_page_loads_nothing_from_other_servers(browser, address):
    context = browser.new_context()
    page = context.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    page.click("#example")
    done(page)
    assert all(url.startswith((address, "blob:")) for url in urls), urls
    context.close()
