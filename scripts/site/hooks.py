"""Additions to mkdocs: pages from outside docs/, the help of every command on one page, and the player."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in PROJECT:
        text = (ROOT / name).read_text(encoding="utf-8")
        for other in PROJECT:
            text = text.replace(f"]({other})", f"]({other.lower()})")
        files.append(File.generated(config, name.lower(), content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    if page.file.src_uri != "reference/commands.md":
        return markdown
    return markdown.replace("<!-- commands -->", commands())


def on_post_build(config: MkDocsConfig) -> None:
    """The player, if ``make player`` built it; without it the site has only its sources."""
    if (ROOT / "build/player").is_dir():
        shutil.copytree(ROOT / "build/player", Path(config.site_dir) / "player", dirs_exist_ok=True)


def commands() -> str:
    """The help of every command, without the list before them, which the page's own contents replace."""
    command = [sys.executable, "-m", "typer", "dacodec.cli.main", "utils", "docs", "--name", "dacodec"]
    told = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return told[told.index("\n## ") :]
