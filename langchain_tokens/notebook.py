"""What does a notebook show of a run, a handler or a store? A line of facts, and the tables below it, as plain HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from langchain_tokens.errors import TokensError
from langchain_tokens.render import UNKNOWN, html_text

if TYPE_CHECKING:
    from langchain_tokens.breakdown import Breakdown, BreakdownRow

__all__ = ("facts_html", "overview_html", "total_facts")

_DAYS = 30
_UNREADABLE = "cannot be read:"
Fact = tuple[str, str]
"""What it is, and how it is shown."""


def overview_html(title: str, ask: Callable[..., Breakdown], timeline: Callable[..., Breakdown] | None = None) -> str:
    """What a handler or a store shows: all that it knows in one line, the chains, and the course of the last days.

    Args:
        title: what it is.
        ask: its `breakdown`.
        timeline: its `timeline`, where it has one.

    """
    try:
        chains = ask("chain")
    except TokensError as error:  # a notebook would show a traceback in the place of the value
        return facts_html(title, [(_UNREADABLE, str(error))])
    shown = facts_html(title, total_facts(chains.total)) + chains._repr_html_()
    return shown if timeline is None else shown + _recent_html(timeline)


def _recent_html(timeline: Callable[..., Breakdown]) -> str:
    title = f"by day, the last {_DAYS} days"
    try:
        recent = timeline("day", since=f"{_DAYS}d")
    except TokensError as error:  # what was pruned may reach into these days, and all else is known
        return facts_html(title, [(_UNREADABLE, str(error))])
    return f"<details><summary>{title}</summary>{recent._repr_html_()}</details>" if recent else ""


def total_facts(total: BreakdownRow) -> list[Fact]:
    """Calls, tokens and cost as they stand above a table, which says what they do not cover."""
    failed = f" ({total.failed_calls:,} failed)" if total.failed_calls else ""
    counts = ((total.input_tokens, "in"), (total.output_tokens, "out"))
    split = ", ".join(f"{UNKNOWN if count is None else f'{count:,}'} {side}" for count, side in counts)
    tokens = UNKNOWN if total.total_tokens is None else f"{total.total_tokens:,} ({split})"
    cost = UNKNOWN if total.cost_usd is None else f"{total.cost_usd:,.6f} USD"
    return [("calls", f"{total.calls:,}{failed}"), ("tokens", tokens), ("cost", cost)]


def facts_html(title: str, facts: Sequence[Fact]) -> str:
    """A title and facts in one line, which is broken where there is no room."""
    said = "".join(
        f'<span style="display:inline-block;margin-right:1.5em"><span style="opacity:.75">{html_text(name)}</span> '
        f"{html_text(value)}</span>"
        for name, value in facts
    )
    wide = "overflow-wrap:anywhere;max-width:60em;margin-bottom:.6em"
    return f'<div class="lt-facts" style="{wide}"><div><strong>{html_text(title)}</strong></div><div>{said}</div></div>'
