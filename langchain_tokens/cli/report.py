"""How much was used, and what did it cost? `report`: sums by any names, or over time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Limit, Shown
from langchain_tokens.cli.output import hint, say_document, say_lines
from langchain_tokens.errors import QueryError

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown
    from langchain_tokens.store.store import UsageStore

__all__ = ("REPORT_EXAMPLES", "By", "Order", "report")

REPORT_EXAMPLES = """\b
It is what happens when no command is named: langchain-tokens --since 7d
Examples:
  langchain-tokens report
  langchain-tokens report --by agent,model --since mtd --sort cost
  langchain-tokens report --timeline day --tz Asia/Kolkata --by model
  langchain-tokens report --since 30d --html report.html
  langchain-tokens report --by tag:variant --chain sql_fix --chain sql_generation --json"""
_USUAL_BY = "chain"


class Order(StrEnum):
    """What makes a row large."""

    TOKENS = "tokens"
    COST = "cost"
    CALLS = "calls"

    @property
    def number(self) -> str:
        """The number of a row."""
        return {"tokens": "total_tokens", "cost": "cost_usd", "calls": "calls"}[self]


class Step(StrEnum):
    """Parts of time."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="NAME,…",
        help="Any of session run mode agent chain path model provider user status attempt hour day week month,"
        f" tag:KEY; else {_USUAL_BY}.",
    ),
]


def report(
    *,
    by: By = None,
    timeline: Annotated[
        Step | None, typer.Option(help="Over time, the oldest first; --by then splits it once.")
    ] = None,
    sort: Annotated[Order | None, typer.Option(help="What comes first, and what shares are of; else tokens.")] = None,
    limit: Limit = 50,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML file with charts and tables.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    asked: Asked,
    shown: Shown,
) -> None:
    """Show what was used and what it cost. By chain, or whatever is named; over all time, or a range."""
    if html is not None:
        _write_html(html, asked, may_replace=force)
        return
    names = _names(by)
    if timeline is not None and len(names) > 1:
        raise QueryError(f"--timeline takes one name at most, not {', '.join(names)}")
    order, filters = (sort or Order.TOKENS).number, asked.filters()
    with opened(asked.database) as store:
        if timeline is None:
            found = store.breakdown(*(names or [_USUAL_BY]), limit=limit or None, order=order, **filters)
        else:
            found = store.timeline(timeline.value, by=names[0] if names else None, **filters)
        if shown.json:
            _say_document(store, found, asked)
        elif found.total.calls:
            _say(store, found, order, asked, shown)
        if not found.total.calls:
            nothing_found(store, shown)


def _write_html(file: Path, asked: Asked, *, may_replace: bool) -> None:
    """Write a report that needs no server; in UTC, as the dashboard shows it."""
    from langchain_tokens.reports import html_report
    from langchain_tokens.wholefile import WholeFile, require_folder

    goal = require_folder(file, may_replace=may_replace)
    filters = {name: value for name, value in asked.filters().items() if name != "tz"}
    with opened(asked.database) as store, WholeFile(goal, may_replace=may_replace) as whole:
        whole.file.write(html_report(store, **filters).encode("utf-8", "replace"))
    hint(f"wrote {goal}")


def _names(said: Sequence[str] | None) -> list[str]:
    """Names that were said one by one, or with commas."""
    return [name.strip() for text in said or () for name in text.split(",") if name.strip()]


def _say(store: UsageStore, found: Breakdown, order: str, asked: Asked, shown: Shown) -> None:
    from langchain_tokens.cli.sheets import wrapped
    from langchain_tokens.cli.sums import course, notes, sums_table, unanswered_in, whole_hours
    from langchain_tokens.cli.terminal import look

    terminal, filters = look(wide=shown.wide, no_color=shown.no_color), asked.filters()
    is_timeline = found.by[0] in {step.value for step in Step}
    lines = wrapped(f"Usage by {', '.join(found.by)} · {asked.title()}", terminal, "dim")
    lines += sums_table(found, terminal, order)
    ended = unanswered_in(store, found.total, filters)
    said = notes(found.total, asked.since, database=asked.database, ended=ended)
    for note in (*said, *whole_hours(store, found.by, filters)):
        lines += wrapped(note, terminal, "yellow")
    drawn = None if is_timeline else course(store, filters, order, terminal)
    lines += [] if drawn is None else [[(line, "cyan")] for line in drawn.split("\n")]
    say_lines(lines, terminal)


def _say_document(store: UsageStore, found: Breakdown, asked: Asked) -> None:
    from langchain_tokens.cli.sums import has_more, numbers

    more = {"has_more": has_more(found)}
    said = {"database": str(store.target), **asked.document(), "by": found.by}
    say_document(**said, rows=found.to_records(), total=numbers(found.total), **more)
