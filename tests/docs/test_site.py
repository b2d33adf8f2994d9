"""Statements of the site that `make docs` cannot check."""

import re

from documented import ROOT

from dacodec.cli.main import EXIT_CODES


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md")}
    assert pages <= set(re.findall(r": (\S+\.md)$", nav, re.MULTILINE))


def test_every_exit_code_is_documented():
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    documented = set(map(int, re.findall(r"^\| (\d) \|", page, re.MULTILINE)))
    assert documented == {0, 1, 2, *(code for _, code in EXIT_CODES)}
