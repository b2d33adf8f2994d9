"""The built player on a server of its own, in Debian's Chromium."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
import typing
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "tests/data/clips"
GOLDEN = ROOT / "tests/container/golden"
BAD = ROOT / "tests/bad_files"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012  # as in the class above
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    asked: typing.ClassVar = []  # the ranges, "from-to", or None for a whole file

    def do_GET(self):
        """With ranges, as most servers have them."""
        given = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        self.asked.append(given)
        if given is None or not path.is_file():
            return super().do_GET()
        size = path.stat().st_size
        start, end = (int(n) for n in given.removeprefix("bytes=").split("-"))
        end = min(end + 1, size)
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        self.wfile.write(path.read_bytes()[start:end])
        return None

    def log_message(self, *_):
        pass


class PlainHandler(Handler):
    do_GET = http.server.SimpleHTTPRequestHandler.do_GET


@contextlib.contextmanager
def serving(folder, handler=Handler):
    """The address of a server of static files."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def chromium(playwright):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()
