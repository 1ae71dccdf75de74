"""What cost the most? `top`: the largest calls, runs, sessions, chains, agents or models."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.listing import call_columns, call_record
from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Limit, Shown
from langchain_tokens.cli.output import say_document, say_lines
from langchain_tokens.cli.sheets import Column, sheet, wrapped
from langchain_tokens.cli.terminal import Segment, look
from langchain_tokens.render import UNKNOWN

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown
    from langchain_tokens.store.store import UsageStore

__all__ = ("TOP_EXAMPLES", "top")

TOP_EXAMPLES = """\b
Examples:
  langchain-tokens top
  langchain-tokens top --what sessions --by tokens --since mtd
  langchain-tokens top --what chains --by duration -n 3 --json"""


class What(StrEnum):
    """What can be ranked."""

    CALLS = "calls"
    RUNS = "runs"
    SESSIONS = "sessions"
    CHAINS = "chains"
    AGENTS = "agents"
    MODELS = "models"


class Size(StrEnum):
    """By what."""

    COST = "cost"
    TOKENS = "tokens"
    DURATION = "duration"

    @property
    def number(self) -> str:
        """The number of a row or a call."""
        return {"cost": "cost_usd", "tokens": "total_tokens", "duration": "duration_ms"}[self]


def top(
    *,
    what: Annotated[What, typer.Option(help="The largest of what.")] = What.CALLS,
    by: Annotated[Size, typer.Option(help="What makes it large; duration is that of its calls.")] = Size.COST,
    limit: Limit = 10,
    asked: Asked,
    shown: Shown,
) -> None:
    """Show what is largest. The calls, runs, sessions, chains, agents or models that cost the most."""
    with opened(asked.database) as store:
        if what is What.CALLS:
            is_empty = _calls(store, by, limit, asked, shown)
        else:
            is_empty = _groups(store, what, by, limit, asked, shown)
        if is_empty:
            nothing_found(store, shown)


def _calls(store: UsageStore, by: Size, limit: int, asked: Asked, shown: Shown) -> bool:
    """Rank calls; says whether there are none."""
    found = store.calls(limit=limit or 2**31, order=f"-{by.number}", **asked.filters())
    if shown.json:
        rows = [call_record(call) for call in found]
        say_document(database=str(store.target), **asked.document(), what="calls", by=by.value, rows=rows)
    elif found:
        terminal = look(wide=shown.wide, no_color=shown.no_color)
        say_lines([*_title(What.CALLS, by, asked, shown), *sheet(call_columns(found, asked.zone), terminal)], terminal)
    return not found


def _groups(store: UsageStore, what: What, by: Size, limit: int, asked: Asked, shown: Shown) -> bool:
    """Rank groups of calls; says whether there are none."""
    from langchain_tokens.cli.sums import numbers, sums_table

    name = what.value.removesuffix("s")
    found = store.breakdown(name, limit=limit or None, order=by.number, **asked.filters())
    if shown.json:
        said = {"database": str(store.target), **asked.document(), "what": what.value, "by": by.value}
        say_document(**said, rows=found.to_records(), total=numbers(found.total))
    elif found.total.calls:
        terminal = look(wide=shown.wide, no_color=shown.no_color)
        labels = [_names_of_runs(store, found)] if what is What.RUNS else []
        say_lines([*_title(what, by, asked, shown), *sums_table(found, terminal, by.number, labels)], terminal)
    return not found.total.calls


def _names_of_runs(store: UsageStore, found: Breakdown) -> Column:
    ids = [str(row.key["run"]) for row in found]
    names = {run.run_id: run.name for run in store.runs(limit=len(ids), run=ids)} if ids else {}
    return Column(heading="name", cells=[names.get(each) or UNKNOWN for each in ids], is_text=True, goes=6)


def _title(what: What, by: Size, asked: Asked, shown: Shown) -> list[list[Segment]]:
    terminal = look(wide=shown.wide, no_color=shown.no_color)
    return wrapped(f"Largest {what.value} by {by.value} · {asked.title()}", terminal, "dim")
