"""Did it use more than it may? Limits on calls, tokens and cost, and what to say when they do not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from langchain_tokens.breakdown import Breakdown, BreakdownRow, UnknownRowError
from langchain_tokens.errors import TokensError

__all__ = ("Limits", "Used", "assert_usage", "make_limits")

_COUNTS = {
    "max_calls": ("calls", "calls"),
    "max_input_tokens": ("input_tokens", "input tokens"),
    "max_output_tokens": ("output_tokens", "output tokens"),
    "max_total_tokens": ("total_tokens", "tokens"),
}
"""A limit → the number of a row that it is for, and what that is called."""


class Used(Protocol):
    """A run, a handler or a store: what can say where its tokens went."""

    def breakdown(self, *by: str) -> Breakdown:
        """Sums by dimension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that may be used; None is no limit."""

    max_calls: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_total_tokens: int | None = None
    max_cost_usd: Decimal | None = None
    by: Mapping[str, Mapping[str, Limits]] | None = None
    """Limits of single chains, agents …: dimension → name → limits."""
    allow_unpriced: bool = False
    """Whether a cost may be compared that lacks calls without a price."""
    allow_missing_usage: bool = False
    """Whether tokens and cost may be compared that lack calls without usage."""


def make_limits(given: Mapping[str, Any]) -> Limits:
    """Check limits as they are given to `assert_usage`.

    Raises:
        TokensError: for a limit that is unknown or no number, or where there is none; it says what is allowed.

    """
    limits = _checked(given, "", is_part=False)
    if not any(getattr(limits, name) is not None for name in (*_COUNTS, "max_cost_usd", "by")):
        raise TokensError(f"no limit is given; expected at least one of {', '.join((*_COUNTS, 'max_cost_usd', 'by'))}")
    return limits


def assert_usage(
    used: Used | Breakdown,
    *,
    max_cost_usd: Decimal | str | float | None = None,
    max_calls: int | None = None,
    max_total_tokens: int | None = None,
    max_input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    by: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    allow_unpriced: bool = False,
    allow_missing_usage: bool = False,
) -> None:
    """Fail a test that used more than it may.

    A number that is not known passes no limit: a limit on tokens fails where a call has no usage, and one on cost also
    where a call has no price, unless that is allowed. Estimates count as they are.

    Args:
        used: a `Run`, a `TokenUsageHandler`, a `UsageStore`, or a `Breakdown` (whose `by` may only ask for its own
            dimension).
        max_cost_usd: US dollars.
        max_calls: calls to models, failed ones and those that a cache answered among them; so for tokens.
        max_total_tokens: input and output.
        max_input_tokens: what was sent, with cached tokens.
        max_output_tokens: what was answered, with reasoning.
        by: limits of parts: `{"chain": {"sql_fix": {"max_calls": 2}}}`; any dimension of a breakdown, and any limit
            above. A part without calls is within every limit.
        allow_unpriced: compare the cost of the calls that have a price.
        allow_missing_usage: compare the tokens and cost of the calls that have usage.

    Raises:
        AssertionError: where a limit does not hold, with each that does not and a table of what was used where.
        TokensError: for limits that cannot be.

    """
    __tracebackhide__ = True
    given = dict(locals())
    hold(used, make_limits({item.name: given[item.name] for item in fields(Limits)}))


def hold(used: Used | Breakdown, limits: Limits) -> None:
    """Fail where limits that were checked do not hold, as `assert_usage`."""
    __tracebackhide__ = True
    total = used if isinstance(used, Breakdown) else used.breakdown()
    broken = list(_broken("", total.total, limits))
    tables: list[Breakdown] = []
    for dimension, parts in (limits.by or {}).items():
        rows = _rows(used, dimension)
        found = [text for name, part in parts.items() for text in _broken_part(rows, dimension, name, part)]
        broken += found
        tables += [rows] if found else []
    if broken:
        if isinstance(used, Breakdown):
            tables = [used]
        elif not tables:
            tables = [used.breakdown("chain")]
        shown = "\n\n".join(str(table) for table in tables)
        raise AssertionError("\n".join(["more was used than may be:", *(f"- {text}" for text in broken), "", shown]))


def _rows(used: Used | Breakdown, dimension: str) -> Breakdown:
    if not isinstance(used, Breakdown):
        return used.breakdown(dimension)
    if used.by != (dimension,):
        raise TokensError(f"limits by {dimension} of a breakdown by {', '.join(used.by) or 'nothing'}")
    return used


def _broken_part(rows: Breakdown, dimension: str, name: str, limits: Limits) -> Iterator[str]:
    try:
        row = rows[(name,)]
    except UnknownRowError:
        return  # nothing was used there
    yield from _broken(f"{dimension} {name}: ", row, limits)


def _broken(where: str, row: BreakdownRow, limits: Limits) -> Iterator[str]:
    """What does not hold of one row."""
    if not row.calls:
        return
    tokens = [name for name in _COUNTS if name != "max_calls" and getattr(limits, name) is not None]
    cost = limits.max_cost_usd
    lacks_usage = bool(row.calls_without_usage) and not limits.allow_missing_usage
    if lacks_usage and (tokens or cost is not None):
        count = f"{row.calls_without_usage:,} of {row.calls:,} calls have no complete usage"
        yield f"{where}tokens are not known: {count} (allow_missing_usage=True leaves them out)"
    if cost is not None and row.unpriced_calls and not limits.allow_unpriced:
        count = f"{row.unpriced_calls:,} of {row.calls:,} calls have no price"
        yield f"{where}the cost is not known: {count} (allow_unpriced=True leaves them out)"
    for name, (field, what) in _COUNTS.items():
        most, value = getattr(limits, name), getattr(row, field)
        if most is not None and value is not None and value > most:
            yield f"{where}{value:,} {what}; at most {most:,}"
        elif most is not None and value is None and not row.calls_without_usage:
            yield f"{where}{what} are not known"
    if cost is not None and row.cost_usd is not None and row.cost_usd > cost:
        yield f"{where}{row.cost_usd.normalize():,f} USD; at most {cost.normalize():,f}"


def _checked(given: Mapping[str, Any], where: str, *, is_part: bool) -> Limits:
    allowed = [item.name for item in fields(Limits) if not (is_part and item.name == "by")]
    unknown = sorted(set(map(str, given)) - set(allowed))
    if unknown:
        raise TokensError(f"unknown limit {where}{unknown[0]}; allowed: {', '.join(allowed)}")
    values: dict[str, Any] = {name: _count(where + name, given.get(name)) for name in _COUNTS}
    values["max_cost_usd"] = _money(f"{where}max_cost_usd", given.get("max_cost_usd"))
    if given.get("by") is not None:
        values["by"] = _parts(given["by"])
    for name in ("allow_unpriced", "allow_missing_usage"):
        values[name] = given.get(name, False)
        if not isinstance(values[name], bool):
            raise TokensError(f"{where}{name}={values[name]!r}; expected True or False")
    return Limits(**values)


def _parts(by: Any) -> dict[str, dict[str, Limits]]:
    parts: dict[str, dict[str, Limits]] = {}
    for dimension, named in _mapping("by", by).items():
        for name, limits in _mapping(f"by[{dimension!r}]", named).items():
            where = f"by[{dimension!r}][{name!r}]"
            parts.setdefault(dimension, {})[name] = _checked(_mapping(where, limits), f"{where}: ", is_part=True)
    return parts


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TokensError(f"{where} is {value!r}; expected a mapping: by={{'chain': {{'NAME': {{'max_calls': 2}}}}}}")
    return value


def _count(where: str, value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise TokensError(f"{where}={value!r}; expected a whole number from 0 on")
    return value


def _money(where: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise TokensError(f"{where}={value!r}; expected US dollars from 0 on, such as '0.01'")
    return amount
