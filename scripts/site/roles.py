"""Docstrings' Sphinx roles as Markdown: the site shows ``:meth:`Codec.encode``` as `Codec.encode`."""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":(?:class|meth|func|attr|mod|data):`~?\.?(?:[\w.]*?\.)?([A-Z]\w*(?:\.\w+)?|\w+)`")


class Roles(griffe.Extension):
    """Applied to every object as it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
