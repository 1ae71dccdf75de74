"""How much was used, and what did it cost? `report`: sums by any names, or over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Limit, Shown
from langchain_tokens.cli.output import hint, say_document, say_lines
from langchain_tokens.errors import QueryError
from langchain_tokens.render import counted

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown
    from langchain_tokens.cli.sums import Unanswered
    from langchain_tokens.store.store import UsageStore

__all__ = ("MOST_LAST", "REPORT_EXAMPLES", "By", "Order", "report")

REPORT_EXAMPLES = """\b
It is what happens when no command is named: langchain-tokens --since 7d
Examples:
  langchain-tokens report
  langchain-tokens report --by agent,model --since mtd --sort cost
  langchain-tokens report --timeline day --tz Asia/Kolkata --by model
  langchain-tokens report --last 100 --by model
  langchain-tokens report --since 30d --html report.html
  langchain-tokens report --by tag:variant --chain sql_fix --chain sql_generation --json"""
_USUAL_BY = "chain"
MOST_LAST = 100_000
"""Calls of `--last`, which are held in memory."""


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
    last: Annotated[int | None, typer.Option(min=1, max=MOST_LAST, help="The newest N calls only.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML file with charts and tables.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    asked: Asked,
    shown: Shown,
) -> None:
    """Show what was used and what it cost. By chain, or whatever is named; over all time, or a range."""
    if html is not None:
        if last is not None:
            raise QueryError("--html takes no --last: its charts are of whole days")
        _write_html(html, asked, may_replace=force)
        return
    names = _names(by)
    if timeline is not None and len(names) > 1:
        raise QueryError(f"--timeline takes one name at most, not {', '.join(names)}")
    wanted = _Wanted(
        by=[*([] if timeline is None else [timeline.value]), *names] or [_USUAL_BY],
        is_timeline=timeline is not None,
        order=(sort or Order.TOKENS).number,
        limit=limit or None,
        last=last,
    )
    filters = asked.filters()  # what is wrong in them is wrong usage, also where there is no database
    with opened(asked.database) as store:
        found, count_ended = (_of_all if last is None else _of_last)(store, wanted, filters)
        if shown.json:
            _say_document(store, found, asked, last)
        elif found.total.calls:
            _say(store, found, count_ended(), wanted, asked, shown)
        if not found.total.calls:
            nothing_found(store, shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a report is to show."""

    by: list[str]
    is_timeline: bool
    order: str
    limit: int | None
    last: int | None


_CountEnded = Callable[[], "Unanswered | None"]
"""Counts the calls that had no answer, for who shows it."""


def _of_all(store: UsageStore, wanted: _Wanted, filters: dict[str, Any]) -> tuple[Breakdown, _CountEnded]:
    """The sums over all that match, and what counts those of their calls that had no answer."""
    from langchain_tokens.cli.sums import unanswered_in

    if wanted.is_timeline:
        step, *by = wanted.by
        found = store.timeline(step, by=by[0] if by else None, **filters)
    else:
        found = store.breakdown(*wanted.by, limit=wanted.limit, order=wanted.order, **filters)
    return found, partial(unanswered_in, store, found.total, filters)


def _of_last(store: UsageStore, wanted: _Wanted, filters: dict[str, Any]) -> tuple[Breakdown, _CountEnded]:
    """The same over the newest few of them, which are read in one statement, so that none counts twice."""
    from langchain_tokens.breakdown import add_up, aggregate, make_breakdown
    from langchain_tokens.cli.sums import unanswered
    from langchain_tokens.query import make_query

    calls = store.calls(limit=wanted.last or 0, **filters)
    groups = add_up(calls, make_query(wanted.by, filters)).items()
    limit = None if wanted.is_timeline else wanted.limit
    found = make_breakdown(wanted.by, groups, in_time_order=wanted.is_timeline, order=wanted.order, limit=limit)
    return found, lambda: unanswered(aggregate(calls, make_query(("status",), filters)))


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


def _say(
    store: UsageStore, found: Breakdown, ended: Unanswered | None, wanted: _Wanted, asked: Asked, shown: Shown
) -> None:
    from langchain_tokens.cli.sheets import wrapped
    from langchain_tokens.cli.sums import course, notes, sums_table, whole_hours
    from langchain_tokens.cli.terminal import look

    terminal, filters = look(wide=shown.wide, no_color=shown.no_color), asked.filters()
    few = [] if wanted.last is None else [f"the newest {counted(min(wanted.last, found.total.calls), 'call')}"]
    title = " · ".join([f"Usage by {', '.join(found.by)}", *few, asked.title()])
    lines = [*wrapped(title, terminal, "dim"), *sums_table(found, terminal, wanted.order)]
    hours = whole_hours(store, found.by, filters) if wanted.last is None else []
    said = notes(found.total, asked.since, database=asked.database, ended=ended)
    for note in (*said, *hours):
        lines += wrapped(note, terminal, "yellow")
    is_by_time = found.by[0] in {step.value for step in Step}
    drawn = None if is_by_time or wanted.last is not None else course(store, filters, wanted.order, terminal)
    lines += [] if drawn is None else [[(line, "cyan")] for line in drawn.split("\n")]
    say_lines(lines, terminal)


def _say_document(store: UsageStore, found: Breakdown, asked: Asked, last: int | None) -> None:
    from langchain_tokens.cli.sums import has_more, numbers

    more = {"has_more": has_more(found)}
    said = {"database": str(store.target), **asked.document(), "last": last, "by": found.by}
    say_document(**said, rows=found.to_records(), total=numbers(found.total), **more)
