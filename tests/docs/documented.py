"""The commands and code in README.md and docs/*.md; which of them are shortened here, and which are not run.

Every fenced block marked ``sh`` or ``python`` counts. The commands of a shell block are run one by one, each in a
folder with the files that it names (placeholders.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Commands that start like this are not run, for the reason given.
NOT_RUN = {
    "make demo": "installs packages from the network",
    "make test": "installs packages from the network, and is what runs this",
    "pip install": "installs packages from the network; make test-wheel installs every extra",
    "make player": "installs packages from the network; make player-test tests what it makes",
    "docker ": "needs a daemon and the network",
    "dacodec tokenize s3://": "needs a bucket and a cluster; tests/corpus has URLs, and a cluster of two nodes",
    "python scripts/prior/fit.py": "writes a model's prior into the source tree",
}

# Replacements for parts of commands, so that they end within seconds, and why the command stays the same.
SMALL = "--model.encoder_hidden_size 4 --model.decoder_hidden_size 32 --model.codebook_size 64"
SHORT = "--steps 2 --batch_size 2 --data.workers 0 --data.decode_processes 1 --data.crop_seconds 0.1 --precision 32-true"
ENDED = "--port 0 >told & while ! grep -q serving told; do kill -0 $!; sleep 0.2; done; kill $!; wait $!"
SHORTENED = [
    (r"(dacodec train smoke)", rf"\1 {SHORT}", "two steps instead of two minutes"),
    (
        r"(dacodec train (?!smoke)[\w.-]+)",
        rf"\1 {SMALL} --discriminator.width 0.05 {SHORT}",
        "a tiny model, two steps",
    ),
    (r"(dacodec finetune builtin)", rf"\1 {SHORT}", "two steps"),
    (
        r"(dacodec finetune (?!builtin)[\w./-]+)",
        rf"\1 --discriminator.width 0.05 {SHORT}",
        "a tiny discriminator, two steps",
    ),
    (r"(torchrun --nproc_per_node|--devices) 8", r"\1 2", "two processes instead of eight"),
    (
        r"(dacodec eval --model [\w./-]+)",
        r"\1 --limit 1 --opus 6 --n-quantizers 9",
        "one recording, one rate",
    ),
    (r"=/data/", "=data/", "a folder of the test"),
    (r"(dacodec serve.*)", rf"\1 {ENDED}", "ended once it serves"),
]

# The address of the service in the documentation; the tests run their own.
SERVICE = "http://127.0.0.1:8000"

# Stand-ins for programs that need a sound card, another machine or FFmpeg: scripts that read and write the same.
STAND_INS = {
    "arecord": "exec head -c 40000 live.raw",
    "aplay": "exec cat >played.raw",
    "ssh": 'shift; exec bash -c "$*"',
    "ffmpeg": "exec cat in.wav",
}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a shell block, its continuation lines joined."""

    place: str
    text: str

    @property
    def reason_not_to_run(self) -> str | None:
        return next((reason for start, reason in NOT_RUN.items() if self.text.startswith(start)), None)

    @property
    def shortened(self) -> str:
        text = self.text
        for pattern, replacement, _ in SHORTENED:
            text = re.sub(pattern, replacement, text)
        return text

    @property
    def outputs(self) -> list[str]:
        """The files that it names as its outputs."""
        return re.findall(r"(?:-o|>|--html|--json) ([\w.]+\.\w+)", self.text)


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return found


def commands() -> list[Command]:
    """Each command once, at its first place."""
    found = []
    for block in blocks():
        if block.language == "sh":
            lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
            found += [Command(block.place, re.sub(r"\s+# .*|\s+$", "", line)) for line in lines]
    return list({command.text: command for command in reversed(found)}.values())[::-1]
