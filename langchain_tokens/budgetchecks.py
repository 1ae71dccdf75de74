"""Can a budget be like this? Each argument checked; all errors say what was found and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from langchain_tokens.errors import BudgetError, QueryError
from langchain_tokens.money import pico_of, rounded, usd_of
from langchain_tokens.query import Query, make_query

__all__ = (
    "LIMITS",
    "SCOPES",
    "TAG",
    "Amount",
    "Unit",
    "check_choice",
    "check_number",
    "check_zone",
    "checked_alert",
    "checked_limit",
    "checked_marks",
    "checked_per",
    "checked_where",
    "described",
    "shown",
    "shown_of",
)

Unit = Literal["usd", "tokens", "calls"]
Amount = Decimal | int
"""US dollars as Decimal, or tokens or calls as int."""
LIMITS: Mapping[str, Unit] = {"limit_usd": "usd", "limit_tokens": "tokens", "limit_calls": "calls"}
SCOPES = ("run", "session", "agent", "chain", "user", "mode")
"""Names of calls that each have an account of their own."""
_PERIODS = ("day", "month")
TAG = "tag:"
_WHERE = ("session", "run", "mode", "agent", "chain", "model", "provider", "user", "tags")
_LARGEST = 2**63 - 1
_ALLOWED_PER = (
    f"one of {', '.join((*SCOPES, *_PERIODS, 'total'))} or tag:KEY, or names with one period: ('user', 'day')"
)


def checked_limit(said: Mapping[str, Any]) -> tuple[Unit, int]:
    """The one limit that was given: what it counts, and how many of it."""
    given = {name: value for name, value in said.items() if value is not None}
    if len(given) != 1:
        found = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "none"
        raise BudgetError(f"a budget has exactly one limit, found {found}; expected one of {', '.join(LIMITS)}")
    [(name, value)] = given.items()
    number = _pico(value) if LIMITS[name] == "usd" else value
    if type(number) is not int or not 0 < number <= _LARGEST:
        kind = "US dollars above 0 and below 9 million" if LIMITS[name] == "usd" else "a whole number above 0"
        raise BudgetError(f"{name}={value!r} is a {type(value).__name__}; expected {kind}")
    return LIMITS[name], number


def _pico(value: Any) -> int | None:
    """US dollars as whole pico-USD; a float means what it is written as."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, str, int, float)):
        return None
    try:
        return pico_of(Decimal(str(value).strip().removeprefix("$")))
    except (ArithmeticError, ValueError):  # no number, or one beyond all exponents
        return None


def checked_per(per: object) -> tuple[tuple[str, ...], str | None]:
    """The names that have accounts of their own, and the period."""
    listed = (per,) if isinstance(per, str) else per
    if not isinstance(listed, (tuple, list)) or not listed:
        raise BudgetError(f"per={per!r}; expected {_ALLOWED_PER}")
    for name in listed:
        is_tag = isinstance(name, str) and name.startswith(TAG) and len(name) > len(TAG)
        if not is_tag and name not in (*SCOPES, *_PERIODS, "total"):
            raise BudgetError(f"per={name!r}; expected {_ALLOWED_PER}")
    if len(set(listed)) != len(listed):
        raise BudgetError(f"per={per!r}; expected {_ALLOWED_PER}")
    periods = [name for name in listed if name in _PERIODS]
    if len(periods) > 1 or ("total" in listed and len(listed) > 1):
        raise BudgetError(f"per={per!r} says two that exclude each other; expected {_ALLOWED_PER}")
    names = tuple(name for name in listed if name not in (*_PERIODS, "total"))
    return names, periods[0] if periods else None


def checked_where(where: object) -> Query:
    """Which calls count."""
    if not isinstance(where, Mapping):
        raise BudgetError(f"where={where!r} is a {type(where).__name__}; expected a mapping: {{'agent': 'Coder'}}")
    unknown = [name for name in where if name not in _WHERE]
    if unknown:
        raise BudgetError(f"where has {unknown[0]!r}; allowed: {', '.join(_WHERE)}")
    try:
        return make_query((), where)
    except QueryError as error:
        raise BudgetError(f"where: {error}") from error


def checked_marks(marks: object) -> tuple[float, ...]:
    """The shares at which to tell, ascending."""
    listed = (marks,) if isinstance(marks, (int, float)) else marks
    if not isinstance(listed, (tuple, list)):
        raise BudgetError(f"warn_at={marks!r} is a {type(marks).__name__}; expected shares such as (0.5, 0.8)")
    for mark in listed:
        if isinstance(mark, bool) or not isinstance(mark, (int, float)) or not 0 < mark < 1:
            raise BudgetError(f"warn_at has {mark!r}; expected shares above 0 and below 1, such as 0.8 for 80 %")
    return tuple(sorted({float(mark) for mark in listed}))


def checked_alert(alert: object) -> tuple[Callable[[Any], object], ...]:
    """Who is told."""
    listed = (alert,) if callable(alert) else alert
    if not isinstance(listed, (tuple, list)) or not all(callable(one) for one in listed):
        raise BudgetError(f"alert={alert!r} is a {type(alert).__name__}; expected a callable, or a list of them")
    return tuple(listed)


def check_choice(name: str, value: object, allowed: tuple[str, ...], *, or_callable: bool = False) -> None:
    """Refuse all but some texts, and a callable where that may be."""
    if (isinstance(value, str) and value in allowed) or (or_callable and callable(value)):
        return
    more = " or a callable" if or_callable else ""
    raise BudgetError(f"{name}={value!r}; expected {', '.join(map(repr, allowed))}{more}")


def described(unit: Unit, limit: int, per: object, where: object) -> str:
    """A name for a budget that has none."""
    amount: Amount = usd_of(limit) if unit == "usd" else limit
    names = [per] if isinstance(per, str) else list(per)  # type: ignore[call-overload]  # checked before
    of_whom = "" if names == ["total"] else " per " + " and ".join(map(str, names))
    filters = where if isinstance(where, Mapping) else {}
    return f"{shown(unit, amount)}{of_whom}" + "".join(f", {name} {value}" for name, value in filters.items())


def check_number(name: str, value: object) -> None:
    """Refuse all but whole numbers from 1 on."""
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise BudgetError(f"{name}={value!r} is a {type(value).__name__}; expected a whole number from 1 on")


def check_zone(tz: object) -> None:
    """Refuse all but names of time zones that are known here."""
    try:
        ZoneInfo(tz)  # type: ignore[arg-type]  # whatever it is
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
        raise BudgetError(
            f"tz={tz!r} is no time zone that is known here; expected one such as 'Europe/Berlin'"
        ) from None


def shown(unit: Unit, amount: Amount) -> str:
    """An amount with its unit: `$1.50`, `1,200 tokens`."""
    if unit != "usd":
        return f"{amount:,} {unit if amount != 1 else unit[:-1]}"
    places = 2 if isinstance(amount, int) or amount == rounded(amount, 2) else 6
    return f"${amount:,.{places}f}"


def shown_of(unit: Unit, part: Amount, whole: Amount) -> str:
    """An amount of another: `$1.50 of $5.00`, `3 of 5 calls`."""
    return f"{shown(unit, part) if unit == 'usd' else format(part, ',')} of {shown(unit, whole)}"
