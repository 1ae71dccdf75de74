"""What is measured, and how is it said? Tokens, money, time and calls, as numbers of a sum and as words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from langchain_tokens.breakdown import BreakdownRow
from langchain_tokens.errors import QueryError
from langchain_tokens.money import rounded
from langchain_tokens.render import UNKNOWN, clean

__all__ = (
    "USED",
    "WIDTH",
    "Number",
    "Used",
    "as_number",
    "percent",
    "shown",
    "sure",
    "used_named",
    "wrapped",
)

WIDTH = 80
"""Columns that every text fits."""
Number = Decimal | float
_COST = "cost_usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One of the quantities that add up over calls."""

    name: str
    """As it is asked for."""
    field: str
    """Where a breakdown's row has the sum."""
    unknown: str | None
    """Where it counts the calls that the sum does not cover."""
    unit: str

    def of(self, row: BreakdownRow) -> float | None:
        """The sum, for statistics alone; None where calls were made and none knows it."""
        value = getattr(row, self.field)
        return None if value is None else float(value)

    def unknown_calls(self, row: BreakdownRow) -> int:
        """How many calls the sum does not cover."""
        return 0 if self.unknown is None else int(getattr(row, self.unknown))


_USED = (
    Used(name="tokens", field="total_tokens", unknown="calls_without_usage", unit="tokens"),
    Used(name="cost", field=_COST, unknown="unpriced_calls", unit="USD"),
    Used(name="calls", field="calls", unknown=None, unit="calls"),
    Used(name="input", field="input_tokens", unknown="calls_without_usage", unit="input tokens"),
    Used(name="output", field="output_tokens", unknown="calls_without_usage", unit="output tokens"),
)
USED: Mapping[str, Used] = {used.name: used for used in _USED}
"""What trends, forecasts and the search for the unusual can look at."""


def used_named(name: object) -> Used:
    """The quantity of a name.

    Raises:
        QueryError: where there is none.

    """
    if not isinstance(name, str) or name not in USED:
        raise QueryError(f"unknown measure {name!r}; allowed: {', '.join(USED)}")
    return USED[name]


def as_number(field: str, value: float | None) -> Number | None:
    """What statistics found, as it is given to people: money as a Decimal, whole to the stored digit."""
    if value is None or field != _COST:
        return value
    return rounded(Decimal(repr(value)))


def shown(value: Number | None, field: str = "") -> str:
    """A number for people: money to the microdollar, small numbers with digits, large ones whole."""
    if value is None:
        return UNKNOWN
    if field == _COST:
        return f"{value:,.6f}" if abs(float(value)) < 1 else f"{value:,.2f}"
    if abs(float(value)) >= 100 or value == int(value):  # noqa: PLR2004  # three digits tell enough
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def percent(share: float) -> str:
    """A share for people; below one per cent with a digit more."""
    size = abs(share) * 100
    return f"{size:,.1f} %" if 0 < size < 1 else f"{size:,.0f} %"


def sure(confidence: float) -> str:
    """A confidence for people: 95 %, and 97.5 % where it is shared among two."""
    return f"{confidence * 100:.3g} %"


def wrapped(notes: Iterable[str], width: int = WIDTH) -> tuple[str, ...]:
    """Sentences as lines that fit a terminal; names in them are made safe before they are cut."""
    return tuple(line for note in notes for line in (textwrap.wrap(clean(note), width) or [""]))
