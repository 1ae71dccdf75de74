"""Which calls are made just now? `tail`: one line for each, as it is stored by whatever process; nothing is redrawn."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.figures import count
from langchain_tokens.cli.listing import COST, call_columns, call_record
from langchain_tokens.cli.opening import nothing_found, opened
from langchain_tokens.cli.options import Asked, Limit, NoColor, Shown, Wide
from langchain_tokens.cli.output import hint, say_line_document, say_lines
from langchain_tokens.cli.sheets import Column, sheet
from langchain_tokens.cli.terminal import Terminal, look
from langchain_tokens.render import UNKNOWN
from langchain_tokens.sums import Sums
from langchain_tokens.zones import zone_name

if TYPE_CHECKING:
    from langchain_tokens.call import Call
    from langchain_tokens.store.following import Follower

__all__ = ("TAIL_EXAMPLES", "tail")

TAIL_EXAMPLES = """\b
With -f it goes on until Ctrl-C, or until nobody reads any more what it prints.
Examples:
  langchain-tokens tail
  langchain-tokens tail -f --agent coder
  langchain-tokens tail -f -n 0 --json"""
_PAUSE_SECONDS = 0.25
_MILLISECONDS = 1_000
_INTERRUPTED = 130
_FLOORS = {"status": 9, "agent": 12, "chain": 16, "model": 18, "input": 7, "output": 6, "tokens": 7, "took": 7}
"""Least widths, so that lines that come one by one stand below each other."""
_COST_FLOOR = 10


@dataclass(slots=True)
class _Tally:
    """What came while it was watched."""

    sums: Sums = field(default_factory=Sums)

    def add(self, calls: Sequence[Call]) -> None:
        """Count calls in."""
        for call in calls:
            self.sums.add(call)

    def said(self, lasted: str) -> str:
        """What they come to, and how many of them that does not cover."""
        sums = self.sums
        lacks = ((sums.calls_without_usage, "without usage"), (sums.unpriced_calls, "without a price"))
        lacking = "".join(f"; {number:,} {what}" for number, what in lacks if number)
        usd = UNKNOWN if sums.cost_usd is None else f"{sums.cost_usd:,.6f}"
        return f"{sums.calls:,} calls, {count(sums.total_tokens)} tokens, {usd} USD in {lasted}{lacking}"


def tail(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each call that is stored.")] = False,
    limit: Limit = 10,
    asked: Asked,
    json: Annotated[bool, typer.Option("--json", "-j", help="Print one JSON object a line.")] = False,
    wide: Wide = False,
    no_color: NoColor = False,
    fail_empty: Annotated[bool, typer.Option("--fail-empty", help="Exit code 3 when no call matches.")] = False,
) -> None:
    """Print the newest calls, the newest last. With -f also those that are made from now on, by any process."""
    shown, terminal = Shown(json=json, fail_empty=fail_empty), look(wide=wide, no_color=no_color)
    with opened(asked.database) as store, store.following(limit=limit, **asked.filters()) as follower:
        if follower.latest or follow:
            _say(follower.latest, asked, terminal, as_json=json, has_heading=True)
        if follow:
            hint(f"waiting for calls in {store.target}, times in {zone_name(asked.zone)}; Ctrl-C stops")
            _go_on(follower, asked, terminal, as_json=json)
        elif not follower.latest and limit:
            nothing_found(store, shown)


def _go_on(follower: Follower, asked: Asked, terminal: Terminal, *, as_json: bool) -> None:
    """Print what comes, until somebody interrupts or nobody reads."""
    tally, began = _Tally(), time.monotonic()
    try:
        while _is_read_after(_PAUSE_SECONDS):
            calls = follower.new()
            tally.add(calls)
            _say(calls, asked, terminal, as_json=as_json)
    except KeyboardInterrupt:
        lasted = f"{time.monotonic() - began:,.0f} s"
        hint(tally.said(lasted))
        raise typer.Exit(_INTERRUPTED) from None


def _say(calls: Sequence[Call], asked: Asked, terminal: Terminal, *, as_json: bool, has_heading: bool = False) -> None:
    if as_json:
        for call in calls:
            say_line_document(call_record(call))
        return
    laid = sheet([replace(column, **_fixed(column, calls)) for column in call_columns(calls, asked.zone)], terminal)
    lines = laid[0 if has_heading else 1 : 1 + len(calls)]
    if lines:
        say_lines(lines, terminal)
    for line in laid[1 + len(calls) :] if has_heading else ():  # what is hidden is no data here: lines may follow
        hint("".join(text for text, _ in line))


def _fixed(column: Column, calls: Sequence[Call]) -> dict[str, Any]:
    """What is the same for all lines of a column, however many there are at a time."""
    if column.heading != COST:
        return {"floor": _FLOORS.get(column.heading, 0)}
    amounts = ["no price" if call.cost_usd is None else f"{call.cost_usd:,.6f}" for call in calls]
    return {"floor": _COST_FLOOR, "cells": amounts}


def _is_read_after(seconds: float) -> bool:
    """Wait, and say whether somebody still reads what is printed: a closed pipe is noticed before the next call."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # a system without it, or no file
        time.sleep(seconds)
        return True
    gone = watch.poll(seconds * _MILLISECONDS)
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes there at exit
    return not gone
