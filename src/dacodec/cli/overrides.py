"""Config keys on the command line: ``--data.workers 4``, before or after the command's own arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand


class CommandWithOverrides(TyperCommand):
    """A command that keeps unknown options, each with its value, for :func:`overrides`.

    Click alone would take the first of them for an omitted argument.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split off the overrides, then parse as always."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        rest, found = split(args, own)
        ctx.meta[__name__] = found
        return super().parse_args(ctx, rest)


def overrides(context: Any) -> list[str]:
    """What was set on the command line besides the command's own options."""
    return list(context.meta[__name__])


def split(args: Sequence[str], own: set[str]) -> tuple[list[str], list[str]]:
    """Arguments for the command, whose options are ``own``, and overrides."""
    rest: list[str] = []
    found: list[str] = []
    left = iter(range(len(args)))
    for i in left:
        name, equals, _ = args[i].partition("=")
        if not name.startswith("--") or name == "--" or name in own:
            rest.append(args[i])
            continue
        found.append(args[i])
        if not equals and i + 1 < len(args) and not args[i + 1].startswith("--"):
            found.append(args[next(left)])
    return rest, found
