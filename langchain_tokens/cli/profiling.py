"""Where does it go, and what can be saved? `profile`, `inputs` and `findings`."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Prices, Shown
from langchain_tokens.cli.output import document_text, hint, say, say_document
from langchain_tokens.cli.tables import columns_of, say_report, say_sentences

if TYPE_CHECKING:
    from langchain_tokens.reports.profiling import Profile

__all__ = ("FINDINGS_EXAMPLES", "INPUTS_EXAMPLES", "PROFILE_EXAMPLES", "findings", "inputs", "profile")

PROFILE_EXAMPLES = """\b
Examples:
  langchain-tokens profile --since 7d
  langchain-tokens profile --format speedscope -o profile.speedscope.json
  langchain-tokens profile --format folded --measure cost | flamegraph.pl > cost.svg"""
INPUTS_EXAMPLES = """\b
Examples:
  langchain-tokens inputs
  langchain-tokens inputs --by chain --since 7d"""
FINDINGS_EXAMPLES = """\b
Examples:
  langchain-tokens findings
  langchain-tokens findings --since 7d --agent sql_agent --json"""
_USUAL_RANGE = "30d"
_PROFILE_GOES = {"cost USD": 1, "calls": 2, "own tokens": 3, "share": 4, "own USD": 5}
_INPUTS_GOES = {"calls": 1, "human": 2, "other": 3, "results": 4, "history": 5, "tools": 6, "system": 7}


class Format(StrEnum):
    """How a profile is written."""

    TEXT = "text"
    FOLDED = "folded"
    SPEEDSCOPE = "speedscope"
    JSON = "json"


class Weight(StrEnum):
    """What folded stacks weigh."""

    TOTAL_TOKENS = "total_tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    COST = "cost"
    CALLS = "calls"
    DURATION = "duration"


def profile(
    *,
    form: Annotated[
        Format, typer.Option("--format", metavar="FORM", help=f"How it is written: {', '.join(Format)}.")
    ] = Format.TEXT,
    measure: Annotated[
        Weight,
        typer.Option(
            metavar="NAME",
            help=f"What folded stacks weigh: {', '.join(Weight)}; cost in pico-USD, duration in microseconds.",
        ),
    ] = Weight.TOTAL_TOKENS,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file to write; else stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    asked: Asked,
    shown: Shown,
) -> None:
    """Show where tokens and money go, as a profiler would. At each place along the path, its own and with all below."""
    from langchain_tokens.reports.profiling import profile as profile_of
    from langchain_tokens.wholefile import require_folder

    goal = None if output is None else require_folder(output, may_replace=force)
    form = Format.JSON if shown.json else form
    with opened(asked.database) as store:
        found = profile_of(store, **asked.filters())
        is_empty = not found.root.subtree.calls
        if goal is not None:
            _write(goal, _text(found, form, measure, {"database": str(store.target), **asked.document()}), force)
        elif form is not Format.TEXT:
            say(_text(found, form, measure, {"database": str(store.target), **asked.document()}))
        elif not is_empty:
            table = found._table()
            say_report(
                f"Profile · {asked.title()}", columns_of(table, _PROFILE_GOES), shown, totals=1, notes=table.notes
            )
        if is_empty:
            nothing_found(store, shown)


def _text(found: Profile, form: Format, measure: Weight, document: dict[str, Any]) -> str:
    """A profile as a file holds it."""
    if form is Format.FOLDED:
        return found.to_folded(measure.value).removesuffix("\n")
    if form is Format.SPEEDSCOPE:
        return json_module.dumps(found.to_speedscope(), allow_nan=False)
    if form is Format.JSON:
        return document_text(**document, root=found.to_dict())
    return str(found)


def _write(goal: Path, text: str, force: bool) -> None:
    from langchain_tokens.wholefile import WholeFile

    with WholeFile(goal, may_replace=force) as whole:
        whole.file.write(f"{text}\n".encode(errors="backslashreplace"))
    hint(f"wrote the profile to {goal}")


def inputs(
    *,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Of whom: agent, chain, path, model, session, tag:KEY …")
    ] = "agent",
    asked: Asked,
    shown: Shown,
) -> None:
    """Show what fills the inputs of calls that were inspected. By default of 30 days; shares are estimates."""
    from langchain_tokens.reports.inputs import input_shares

    asked = asked.within(_USUAL_RANGE)
    with opened(asked.database) as store:
        found = input_shares(store, by, **asked.filters())
        if shown.json:
            say_document(database=str(store.target), **asked.document(), **found.to_dict())
        elif found.total.calls:
            table, title = found._table(), f"What fills the input, by {by} · {asked.title()}"
            say_report(title, columns_of(table, _INPUTS_GOES), shown, totals=1, notes=table.notes)
        if not found.total.calls:
            nothing_found(store, shown)


def findings(*, prices: Prices = None, asked: Asked, shown: Shown) -> None:
    """Say what was spent in vain and what could be saved. With the line that mends it; by default of 30 days."""
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.reports.waste import findings as findings_in

    asked, book = asked.within(_USUAL_RANGE), PriceBook(prices)
    with opened(asked.database) as store:
        found = findings_in(store, prices=book, **asked.filters())
        if shown.json:
            say_document(database=str(store.target), **asked.document(), **found.to_dict())
        elif found.calls:
            say_sentences(f"Findings · {asked.title()}", found._lines(), shown)
        if not found.calls:
            nothing_found(store, shown)
