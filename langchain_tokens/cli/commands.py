"""Which command is meant when none is named? The usual one, with the options that were said."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ("USUAL_COMMAND", "Commands")

USUAL_COMMAND = "report"


class Commands(TyperGroup):
    """Commands, one of which is the usual one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the usual command where nothing is said, or only options that are not the group's own."""
        own = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        is_option = bool(args) and args[0].startswith("-") and args[0].partition("=")[0] not in own
        if (not args or is_option) and not ctx.resilient_parsing:
            args = [USUAL_COMMAND, *args]
        return super().parse_args(ctx, args)
