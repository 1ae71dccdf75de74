"""What does a cell say? Text, counts, money, times, truth and JSON, whether the file has types or text alone.

What cannot be is a `ValueError` whose text names the column, what was found and what was expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from langchain_tokens.limits import EARLIEST, LONGEST_MS, MOST_TOKENS
from langchain_tokens.names import checked_name

__all__ = (
    "MOST_USD",
    "as_count",
    "as_counts",
    "as_json",
    "as_moment",
    "as_money",
    "as_number",
    "as_text",
    "as_truth",
    "is_unknown",
    "shown",
)

MOST_USD: Final = Decimal(9_000_000)
"""What fits into 64 bits of pico-USD."""
_NOTHING: Final = frozenset({"", "null", "none", "nan", "n/a", "na", "<na>", "nat", "-"})
"""What is written where a number is unknown."""
_PANDAS_NOTHING: Final = frozenset({"NAType", "NaTType"})
_TRUTHS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_MILLISECONDS_FROM: Final = 10**11
"""Seconds since 1970 that great are beyond the year 5000: they are milliseconds."""
_COMPACT: Final = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}
"""Digits of a number → the date or time that it is: as seconds it would be before 1974, as milliseconds after 2286."""
_SHOWN: Final = 60
_DEEPEST: Final = 100


def is_unknown(value: Any) -> bool:
    """Whether a value stands where there is none: None, and what pandas writes for it in its columns."""
    if isinstance(value, (float, Decimal)):
        return math.isnan(value)
    return value is None or type(value).__name__ in _PANDAS_NOTHING


def as_text(value: Any, name: str) -> str | None:
    """A name or an id; empty text is none."""
    if is_unknown(value):
        return None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        value = format(value, "f") if isinstance(value, Decimal) else str(value)
    return checked_name(name, value)


def as_count(value: Any, name: str, most: int = MOST_TOKENS) -> int | None:
    """A whole number from 0 on; `12.0` is one, as pandas writes it."""
    number = _decimal(value, name)
    if number is None:
        return None
    if not 0 <= number <= most or number != number.to_integral_value():
        raise ValueError(f"{name} is {shown(value)}; expected a whole number from 0 to {most:,}")
    return int(number)


def as_counts(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Counts by our names.

    Args:
        values: a row.
        columns: our name → the row's.

    """
    return {ours: as_count(values.get(theirs), theirs) for ours, theirs in columns.items()}


def as_number(value: Any, name: str, most: float = LONGEST_MS) -> float | None:
    """A number from 0 on."""
    number = _decimal(value, name)
    if number is None:
        return None
    if not 0 <= number <= Decimal(most):
        raise ValueError(f"{name} is {shown(value)}; expected a number from 0 to {most:,}")
    return float(number)


def as_money(value: Any, name: str, least: Decimal = Decimal(0)) -> Decimal | None:
    """An amount of US dollars."""
    number = _decimal(value, name)
    if number is not None and not least <= number <= MOST_USD:
        raise ValueError(f"{name} is {shown(value)}; expected US dollars from {least:,} to {MOST_USD:,}")
    return number


def as_moment(value: Any, name: str) -> datetime | None:
    """A time: ISO 8601, also as `20261101` or `20261101120000` and as numbers of that form, or seconds or milliseconds
    since 1970; without an offset it is UTC.
    """
    if is_unknown(value) or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return None
    try:
        moment = value if isinstance(value, datetime) else _moment(value, name)
        moment = moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{name} is {shown(value)}; expected a time such as 2026-11-01T12:00:00Z") from None
    if moment < EARLIEST:
        raise ValueError(f"{name} is {shown(value)}; expected a time from 1970 on")
    return moment


def as_truth(value: Any, name: str) -> bool | None:
    """Yes or no."""
    if is_unknown(value):
        return None
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    if said in _NOTHING:
        return None
    if said not in _TRUTHS:
        raise ValueError(f"{name} is {shown(value)}; expected true or false")
    return _TRUTHS[said]


def as_json(value: Any, name: str) -> Any:
    """A mapping or a list; text is JSON. Numbers in it are plain ones."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{name} is {shown(value)}; expected JSON") from None
    if is_unknown(value):
        return None
    return _plain_numbers(value, name)


def shown(value: Any) -> str:
    """A value in an error, not endlessly long."""
    text = repr(str(value)) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _plain_numbers(value: Any, name: str, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"{name} is nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        return {str(key): _plain_numbers(item, name, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_numbers(item, name, depth + 1) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    return value


def _decimal(value: Any, name: str) -> Decimal | None:
    if is_unknown(value):
        return None
    if isinstance(value, str) and value.strip().lower() in _NOTHING:
        return None
    try:
        number = Decimal(str(value).strip()) if isinstance(value, (str, int, float, Decimal)) else None
    except InvalidOperation:
        number = None
    if number is None or isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"{name} is {shown(value)}; expected a number")
    return number


def _moment(value: Any, name: str) -> datetime:
    text = str(value).strip()
    form = _COMPACT.get(len(text)) if text.isascii() and text.isdecimal() else None
    if form is not None:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    if isinstance(value, (int, float, Decimal)) or text.replace(".", "", 1).isdecimal():
        seconds = _decimal(value, name) or Decimal(0)
        return datetime.fromtimestamp(float(seconds / 1000 if seconds >= _MILLISECONDS_FROM else seconds), UTC)
    if not isinstance(value, str):
        raise ValueError(name)  # noqa: TRY004  # data, not a programmer's mistake
    return datetime.fromisoformat(text.removesuffix(" UTC"))
