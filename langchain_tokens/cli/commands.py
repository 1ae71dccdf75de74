"""Which commands are there, where is each, and which is meant when none is named? Loaded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from langchain_tokens.cli.options import with_groups

__all__ = ("COMMANDS", "USUAL_COMMAND", "Commands", "Home", "add_commands", "named_command")

USUAL_COMMAND = "report"
_OWN_OPTIONS = frozenset({"--help", "-h", "--version", "--install-completion", "--show-completion"})
_COMPLETING = "_LANGCHAIN_TOKENS_COMPLETE"
"""The variable by which a shell asks for what could follow."""


class Home(NamedTuple):
    """Where a command is."""

    module: str
    function: str = ""
    """Empty for a group of commands, which its module's `make_app` makes."""
    examples: str = ""


COMMANDS: Mapping[str, Home] = {
    "report": Home("report", "report", "REPORT_EXAMPLES"),
    "top": Home("ranking", "top", "TOP_EXAMPLES"),
    "runs": Home("listing", "runs", "RUNS_EXAMPLES"),
    "run": Home("tracing", "run", "RUN_EXAMPLES"),
    "sessions": Home("listing", "sessions", "SESSIONS_EXAMPLES"),
    "calls": Home("listing", "calls", "CALLS_EXAMPLES"),
    "content": Home("content", "content", "CONTENT_EXAMPLES"),
    "tail": Home("tailing", "tail", "TAIL_EXAMPLES"),
    "compare": Home("analysis", "compare", "COMPARE_EXAMPLES"),
    "forecast": Home("analysis", "forecast", "FORECAST_EXAMPLES"),
    "unusual": Home("analysis", "unusual", "UNUSUAL_EXAMPLES"),
    "profile": Home("profiling", "profile", "PROFILE_EXAMPLES"),
    "inputs": Home("profiling", "inputs", "INPUTS_EXAMPLES"),
    "findings": Home("profiling", "findings", "FINDINGS_EXAMPLES"),
    "dashboard": Home("dashboard", "dashboard", "DASHBOARD_EXAMPLES"),
    "export": Home("files", "export", "EXPORT_EXAMPLES"),
    "import": Home("files", "import_", "IMPORT_EXAMPLES"),
    "reconcile": Home("files", "reconcile", "RECONCILE_EXAMPLES"),
    "delete": Home("deletion", "delete", "DELETE_EXAMPLES"),
    "doctor": Home("diagnosis", "doctor", "EXAMPLES"),
    "check": Home("stored", "check", "CHECK_EXAMPLES"),
    "reprice": Home("stored", "reprice", "REPRICE_EXAMPLES"),
    "budget": Home("budgets"),
    "prices": Home("pricing"),
    "db": Home("database"),
}
"""All commands, in the order in which help lists them."""


class Commands(TyperGroup):
    """Commands, one of which is the usual one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the usual command where nothing is said, or only options that are not the group's own."""
        if not ctx.resilient_parsing and _means_usual(args):
            args = [USUAL_COMMAND, *args]
        return super().parse_args(ctx, args)


def named_command(args: Sequence[str]) -> str | None:
    """The one command that is needed for what was said; None for all, as for help, completion or a misspelled one."""
    if _COMPLETING in os.environ:
        return None
    name = USUAL_COMMAND if _means_usual(args) else args[0]
    return name if name in COMMANDS else None


def add_commands(app: typer.Typer, only: str | None = None) -> None:
    """Put the commands into an app, or only one."""
    for name, home in COMMANDS.items():
        if only not in (None, name):
            continue
        module = import_module(f"langchain_tokens.cli.{home.module}")
        if home.function:
            command = with_groups(getattr(module, home.function))
            app.command(name, epilog=getattr(module, home.examples))(command)
        else:
            app.add_typer(module.make_app(), name=name)


def _means_usual(args: Sequence[str]) -> bool:
    return not args or (args[0].startswith("-") and args[0].partition("=")[0] not in _OWN_OPTIONS)
