"""How do sums look in a terminal? A breakdown as a table with bars, what is missing in it, and the course of time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.cli.figures import Cost, bar, costs, count, duration, percent, sparkline
from langchain_tokens.cli.settings import setting
from langchain_tokens.cli.sheets import Column, sheet
from langchain_tokens.cli.terminal import Segment, Terminal
from langchain_tokens.doctor import UNANSWERED
from langchain_tokens.errors import QueryError
from langchain_tokens.query import make_query, missing_label
from langchain_tokens.store.plan import floor_of, needs_rows
from langchain_tokens.store.target import parse_target
from langchain_tokens.zones import labels_between, parse_zone

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = (
    "Unanswered",
    "course",
    "has_more",
    "notes",
    "numbers",
    "sums_table",
    "unanswered",
    "unanswered_in",
    "whole_hours",
)

_BAR = 12
_LEAST = {"run": 14, "hour": 22}
"""Characters of names whose beginnings tell little."""
_ADDED = (
    "calls",
    "failed_calls",
    "unpriced_calls",
    "calls_without_usage",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cost_usd",
    "duration_ms",
)
"""Numbers of a row that the rows left out have, too: those of all less those that are shown."""
_SHARES = {
    "total_tokens": "share",
    "cost_usd": "share of cost",
    "calls": "share of calls",
    "duration_ms": "share of time",
}
_FEW_DAYS, _MANY_DAYS = 2, 90
_LONGEST_COURSE = 60
_MOST_ROWS = 200_000
"""Calls that are read one by one for a note."""


def has_more(found: Breakdown) -> bool:
    """Whether there are rows that are not shown."""
    return sum(row.calls for row in found) < found.total.calls


def numbers(row: BreakdownRow) -> dict[str, Any]:
    """All numbers of a row by their names, for JSON."""
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name != "key"}


def sums_table(
    found: Breakdown, terminal: Terminal, order: str = "total_tokens", labels: Sequence[Column] = ()
) -> list[list[Segment]]:
    """A breakdown as a table: its rows, the sum of those that are not shown, and the total.

    Args:
        found: what is to be shown.
        terminal: where.
        order: the number that bars and shares stand for.
        labels: more columns of text, one cell for each row.

    """
    rest = [_rest(found)] if found.by and has_more(found) else []
    tail = [*rest, found.total]
    rows = [*found, *tail] if found.by else [found.total]
    names = [
        Column(
            heading=name,
            cells=_names(found, name, is_first=name == found.by[0], has_rest=bool(rest)),
            is_text=True,
            keeps_end=name == "path",
            least=_LEAST.get(name, 10),
        )
        for name in found.by
    ]
    more = [replace(column, cells=[*column.cells, *("" for _ in tail)]) for column in labels]
    return sheet([*names, *more, *_numbers(rows, order, terminal)], terminal, totals=len(tail) if found.by else 0)


def _names(found: Breakdown, name: str, *, is_first: bool, has_rest: bool) -> list[str]:
    shown = [missing_label(name) if row.key[name] is None else str(row.key[name]) for row in found]
    return [*shown, *(["(others)" if is_first else ""] if has_rest else []), "total" if is_first else ""]


def _rest(found: Breakdown) -> BreakdownRow:
    """The rows that are not shown, as one."""
    left: dict[str, Any] = {}
    for name in _ADDED:
        total, shown = getattr(found.total, name), [getattr(row, name) for row in found]
        left[name] = None if total is None else total - sum(value for value in shown if value is not None)
    if left["unpriced_calls"] == left["calls"]:  # what is left of the cost is nothing that anybody knows
        left["cost_usd"] = None
    if left["calls_without_usage"] == left["calls"]:
        left |= dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"))
    # Of these nobody counts who does not know them: where nothing is left, it may be that, too.
    left |= {name: left[name] or None for name in ("cache_read_tokens", "duration_ms")}
    return replace(found.total, **left)


def _numbers(rows: Sequence[BreakdownRow], order: str, terminal: Terminal) -> list[Column]:
    cost = costs([Cost(row.cost_usd, row.calls, row.unpriced_calls) for row in rows])
    failed = [count(row.failed_calls) for row in rows]
    time = [duration(row.duration_ms) for row in rows]
    return [
        Column(heading="calls", cells=[count(row.calls) for row in rows], goes=4),
        Column(heading="failed", cells=failed, goes=7, styles=["red" if row.failed_calls else "" for row in rows]),
        Column(heading="input", cells=[count(row.input_tokens) for row in rows], goes=6),
        Column(heading="cached", cells=[percent(_cached(row)) for row in rows], goes=8),
        Column(heading="output", cells=[count(row.output_tokens) for row in rows], goes=5),
        Column(heading="tokens", cells=[count(row.total_tokens) for row in rows], goes=2),
        *([Column(heading="in calls", cells=time, goes=3)] if order == "duration_ms" else []),
        Column(heading=_SHARES[order], cells=_shares(rows, order, terminal), is_left=True, goes=9, style="cyan"),
        Column(heading="cost USD", cells=cost, goes=1),
    ]


def _cached(row: BreakdownRow) -> float | None:
    """The part of the input that came from the provider's cache."""
    if row.cache_read_tokens is None or not row.input_tokens:
        return None
    return row.cache_read_tokens / row.input_tokens


def _shares(rows: Sequence[BreakdownRow], order: str, terminal: Terminal) -> list[str]:
    """Each row's part of all, and a bar by the largest of them; the total has none."""
    *parts, whole = (getattr(row, order) for row in rows)
    largest = max((part for part in parts if part is not None), default=0)
    cells = []
    for part in parts:
        if part is None or not whole or not largest:
            cells.append(f"{percent(None):>4}")
            continue
        drawn = bar(float(Decimal(part) / Decimal(largest)), _BAR, can_draw=terminal.can_draw)
        cells.append(f"{percent(Decimal(part) / Decimal(whole)):>4} {drawn}".rstrip())
    return [*cells, ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Of the calls that sums do not cover: how many failed or were cancelled."""

    calls_without_usage: int
    unpriced_calls: int


def unanswered(by_status: Breakdown) -> Unanswered:
    """Count them in a breakdown by status."""
    rows = [row for row in by_status if row.key["status"] in UNANSWERED]
    return Unanswered(
        calls_without_usage=sum(row.calls_without_usage for row in rows),
        unpriced_calls=sum(row.unpriced_calls for row in rows),
    )


def unanswered_in(store: UsageStore, total: BreakdownRow, filters: dict[str, Any]) -> Unanswered | None:
    """Count them in a store; None where nothing is missing, or it would take long to say or cannot be told any more."""
    if not (total.calls_without_usage or total.unpriced_calls):
        return None
    if total.calls > _MOST_ROWS and needs_rows(make_query(("status",), filters)):
        return None
    with suppress(QueryError):  # only sums are left that do not say it
        return unanswered(store.breakdown("status", **filters))
    return None


def notes(
    total: BreakdownRow, since: str | None, *, database: str | None, ended: Unanswered | None = None
) -> list[str]:
    """What the sums do not cover, and the command that says what to do about it.

    Args:
        total: the sums.
        since: from when on, as it was typed.
        database: which one was asked, as it was typed; None is the one that commands ask anyway.
        ended: which of these calls had no answer; None is not known.

    """
    of = ("--last", "1000") if since is None else ("--since", since)
    doctor = shlex.join(["langchain-tokens", "doctor", *_where(database), *of])
    unpriced, silent = total.unpriced_calls, total.calls_without_usage
    failed = ended or Unanswered(calls_without_usage=0, unpriced_calls=0)
    # One that failed after it had told its usage can get a price, as any other.
    can_be_priced = unpriced > failed.unpriced_calls or unpriced > failed.calls_without_usage
    for_price = _supply(failed.unpriced_calls, doctor if can_be_priced else None)
    for_usage = _supply(failed.calls_without_usage, doctor if silent > failed.calls_without_usage else None)
    said = (
        (unpriced, f"without a price: not in the cost; {for_price}", "* "),
        (silent, f"without complete usage: not in the tokens; {for_usage}", ""),
        (total.estimated_calls, "with estimated tokens", ""),
    )
    return [f"{mark}{number:,} of {total.calls:,} calls {what}" for number, what, mark in said if number]


def _where(database: str | None) -> tuple[str, ...]:
    """The option that names this database, where that is not the one that commands ask anyway; without a password."""
    if database is None or database == setting("db"):
        return ()
    return ("--db", str(parse_target(database)) if "://" in database else database)


def _supply(failed: int, doctor: str | None) -> str:
    """How many of the calls that lack something had no answer, and what supplies what the others lack, if anything."""
    if doctor is None:
        return "failed or cancelled, so that there is nothing to supply"
    return (f"{failed:,} of them failed or cancelled; " if failed else "") + f"what supplies it: {doctor}"


def whole_hours(store: UsageStore, by: Sequence[str], filters: dict[str, Any]) -> list[str]:
    """That a range with an end within an hour whose rows were pruned is counted with all of that hour."""
    query, first = make_query(by, filters), store.existing(()).rows_since
    if first is None or needs_rows(query):
        return []
    ends = [moment for moment in (query.since, query.until) if moment is not None and moment < first]
    if all(floor_of(moment, "hour") == moment for moment in ends):
        return []
    return [
        f"before {first:%Y-%m-%d %H:%M} UTC only sums of whole hours are kept: the range has all of its hours there"
    ]


def course(store: UsageStore, filters: dict[str, Any], order: str, terminal: Terminal) -> str | None:
    """One line that shows how much was used in each hour, day or month; None where that says nothing."""
    found, step = store.timeline("day", **filters), "day"
    if not terminal.can_draw or not found:
        return None
    if len(found) <= _FEW_DAYS:
        found, step = store.timeline("hour", **filters), "hour"
    elif len(found) > _MANY_DAYS:
        found, step = store.timeline("month", **filters), "month"
    known = {str(row.key[step]): getattr(row, order) for row in found}
    first, last = str(found[0].key[step]), str(found[-1].key[step])
    labels = labels_between(first, last, step, parse_zone(filters.get("tz", "UTC")))
    room = (terminal.width or _LONGEST_COURSE) - len(f"per {step}  ")
    if room < 1 or len(labels) == 1:
        return None
    labels = labels[-min(room, _LONGEST_COURSE) :]
    drawn = sparkline([float(known.get(label) or 0) for label in labels])
    return f"per {step}  {drawn}\n{labels[0]} … {labels[-1]}"
