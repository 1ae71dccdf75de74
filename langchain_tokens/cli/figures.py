"""How are numbers written for a terminal? Counts, money, shares, times, as ready texts; unknown is never 0."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import NamedTuple

from langchain_tokens.render import UNKNOWN

__all__ = ("Cost", "bar", "costs", "count", "duration", "moment", "percent", "sparkline")

_LEAST_PLACES, _MOST_PLACES = 2, 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000


class Cost(NamedTuple):
    """What calls cost, and how many of them have no price."""

    usd: Decimal | None
    calls: int
    unpriced: int


def count(number: int | None) -> str:
    """A whole number."""
    return UNKNOWN if number is None else f"{number:,}"


def percent(part: float | Decimal | None) -> str:
    """A share from 0 to 1."""
    return UNKNOWN if part is None else f"{part:.0%}"


def costs(column: Sequence[Cost]) -> list[str]:
    """Amounts of one column, all with as many digits as the smallest needs; `*` marks those that do not cover all."""
    known = [abs(cost.usd) for cost in column if cost.usd]
    places = _LEAST_PLACES if not known else min(_MOST_PLACES, max(_LEAST_PLACES, 2 - min(known).adjusted()))
    is_marked = any(cost.usd is not None and cost.unpriced for cost in column)
    return [_cost(cost, places) + (" " if is_marked and not _is_part(cost) else "") for cost in column]


def _cost(cost: Cost, places: int) -> str:
    if cost.usd is None:
        return "no price" if cost.unpriced else UNKNOWN
    return f"{cost.usd:,.{places}f}" + ("*" if cost.unpriced else "")


def _is_part(cost: Cost) -> bool:
    return cost.usd is not None and bool(cost.unpriced)


def duration(milliseconds: float | None) -> str:
    """A time in the unit that fits it."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < _SECOND:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 2 * _MINUTE:
        return f"{milliseconds / _SECOND:.1f} s"
    if milliseconds < 2 * _HOUR:
        return f"{milliseconds / _MINUTE:.0f} min"
    return f"{milliseconds / _HOUR:.0f} h" if milliseconds < 2 * _DAY else f"{milliseconds / _DAY:,.0f} d"


def moment(when: datetime | None, zone: tzinfo) -> tuple[str, str]:
    """The date and the time of a moment in a zone."""
    if when is None:
        return UNKNOWN, UNKNOWN
    local = when.astimezone(zone)
    return f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}"


def bar(part: float, width: int, *, can_draw: bool = True) -> str:
    """A bar for a part from 0 to 1 of the width."""
    if not can_draw:
        return "#" * round(part * width)
    full, rest = divmod(round(part * width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float]) -> str:
    """One sign for each value, by its part of the greatest; nothing is a blank."""
    most = max(values, default=0)
    return "".join(_HEIGHTS[min(7, int(value / most * 8))] if value else " " for value in values)
