"""Why was more used than usual? The excess as a product of more calls, longer calls and dearer tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from langchain_tokens.breakdown import Breakdown, BreakdownRow
from langchain_tokens.reports.quantities import Number, Used, percent, shown

__all__ = ("Cause", "CauseName", "Totals", "causes", "totals_of")

CauseName = Literal["calls", "input", "output", "price", "model", "retries", "failures"]
Read = Callable[[str], tuple[Breakdown, Breakdown]]
"""Reads, by a dimension, what is explained and all that it is compared with (itself among it)."""
_TELLING = 0.2
"""The part of the excess below which a cause is not worth a word."""
_MILLION = 1_000_000
_MICRODOLLAR = Decimal("0.000001")
_MUCH_MORE = 2.0
_MANY = 0.1
_HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason. `calls`: calls; `input` and `output`: tokens for each call; `price`: USD for a million tokens;
    `model`: the part of the tokens by that model; `retries` and `failures`: the part of the calls.
    """

    name: CauseName
    usual: Number
    seen: Number
    share: float | None
    """The part of the excess (of its logarithm) that it makes; None for what lies behind another cause."""
    text: str


class Totals(NamedTuple):
    """What some calls used together; None is not known."""

    calls: int
    failed: int
    input: float | None
    output: float | None
    tokens: float | None
    cost: float | None


def totals_of(rows: Iterable[BreakdownRow]) -> Totals:
    """The sums over some rows."""
    found = list(rows)

    def known(field: str) -> float | None:
        values = [float(value) for row in found if (value := getattr(row, field)) is not None]
        return sum(values) if values else None

    sums = [known(field) for field in ("input_tokens", "output_tokens", "total_tokens", "cost_usd")]
    return Totals(sum(row.calls for row in found), sum(row.failed_calls for row in found), *sums)


def causes(used: Used, now: Totals, others: Totals, typical_calls: float, read: Read | None) -> tuple[Cause, ...]:
    """What made the excess, the largest part first, each followed by what lies behind it.

    Args:
        used: the quantity that was unusual.
        now: what was seen.
        others: what it is compared with, added up.
        typical_calls: the calls that are usual in one such step or session.
        read: reads more, where there is more to be told apart; None where there is not.

    """
    found = [cause for cause in _factors(used, now, others, typical_calls) if (cause.share or 0) >= _TELLING]
    found.sort(key=lambda cause: -(cause.share or 0))
    told: list[Cause] = []
    for cause in found:
        behind = () if read is None else _behind(cause, now, others, read)
        told += [*behind] if cause.name == "price" and behind else [cause, *behind]
    return tuple(told)


def _factors(used: Used, now: Totals, others: Totals, typical_calls: float) -> Iterator[Cause]:
    """The factors whose product is what was seen over what is usual, each with its part of it."""
    parts: list[tuple[CauseName, float, float]] = [("calls", typical_calls, now.calls)]
    if used.name in ("tokens", "cost", "input"):
        parts += _each("input", now.input, others.input, now, others)
    if used.name in ("tokens", "cost", "output"):
        parts += _each("output", now.output, others.output, now, others)
    if used.name == "cost":
        prices = [_ratio(of.cost, of.tokens) for of in (others, now)]
        parts += [("price", prices[0], prices[1])] if prices[0] and prices[1] else []
    weights = _weights(parts)
    whole = sum(weight for weight in weights if weight > 0)
    for (name, usual, seen), weight in zip(parts, weights, strict=True):
        if weight > 0:
            a, b = (_amount(name, value) for value in (usual, seen))
            yield Cause(name=name, usual=a, seen=b, share=weight / whole, text=_text(name, a, b))


def _each(
    name: CauseName, seen: float | None, usual: float | None, now: Totals, others: Totals
) -> list[tuple[CauseName, float, float]]:
    if seen is None or usual is None or not others.calls:
        return []
    return [(name, usual / others.calls, seen / now.calls)]


def _weights(parts: list[tuple[CauseName, float, float]]) -> list[float]:
    """The logarithm of each factor; input and output add up to the tokens of a call, and share its logarithm."""
    sizes = [(usual, seen) for name, usual, seen in parts if name in ("input", "output")]
    before, after = sum(usual for usual, _ in sizes), sum(seen for _, seen in sizes)
    each_more = math.log(after / before) / (after - before) if before and after and after != before else 0.0
    return [
        (seen - usual) * each_more
        if name in ("input", "output")
        else (math.log(seen / usual) if usual > 0 and seen > 0 else 0.0)
        for name, usual, seen in parts
    ]


def _amount(name: CauseName, value: float) -> Number:
    """As it is given to people: a price for a million tokens, as money."""
    return Decimal(repr(value * _MILLION)).quantize(_MICRODOLLAR) if name == "price" else value


def _text(name: CauseName, usual: Number, seen: Number) -> str:
    if name == "calls":
        return f"more calls: {shown(seen)} instead of {shown(usual)}"
    if name == "price":
        a, b = (shown(price, "cost_usd") for price in (seen, usual))
        return f"dearer tokens: {a} USD for a million instead of {b}"
    return f"longer {name}s: {shown(seen)} tokens a call instead of {shown(usual)}"


def _behind(cause: Cause, now: Totals, others: Totals, read: Read) -> list[Cause]:
    if cause.name == "calls":
        return [*_retries(now, others, read), *_failures(now, others)]
    return _models(cause, read) if cause.name == "price" else []


def _retries(now: Totals, others: Totals, read: Read) -> list[Cause]:
    seen_by, whole_by = read("attempt")
    again = [sum(row.calls for row in by if row.key["attempt"] not in (None, 1)) for by in (seen_by, whole_by)]
    seen, usual = again[0] / now.calls, (again[1] - again[0]) / (others.calls or 1)
    if seen < _MANY or seen < _MUCH_MORE * usual:
        return []
    text = f"{percent(seen)} of the calls were further attempts or turns of a chain, usually {percent(usual)}"
    return [Cause(name="retries", usual=usual, seen=seen, share=None, text=text)]


def _failures(now: Totals, others: Totals) -> list[Cause]:
    seen, usual = now.failed / now.calls, others.failed / (others.calls or 1)
    if seen < _MANY or seen < _MUCH_MORE * usual:
        return []
    text = f"{percent(seen)} of the calls failed, usually {percent(usual)}"
    return [Cause(name="failures", usual=usual, seen=seen, share=None, text=text)]


def _models(cause: Cause, read: Read) -> list[Cause]:
    """The models that were used more than usual, if it is they that make the price; else it is their own price."""
    seen_by, whole_by = read("model")
    now = {row.key["model"]: totals_of([row]) for row in seen_by}
    usual = {row.key["model"]: _less(totals_of([row]), now.get(row.key["model"])) for row in whole_by}
    tokens, usual_tokens = (sum(of.tokens or 0 for of in by.values()) for by in (now, usual))
    if not tokens or not usual_tokens:
        return []
    as_usual = sum((of.tokens or 0) * _usual_price(of, usual.get(model)) for model, of in now.items()) / tokens
    price, price_now = (float(value) / _MILLION for value in (cause.usual, cause.seen))
    if as_usual <= price or math.log(as_usual / price) < _HALF * math.log(price_now / price):
        return []
    found = []
    for model, of in now.items():
        before = usual.get(model)
        parts = ((of.tokens or 0) / tokens, ((before.tokens if before is not None else 0) or 0) / usual_tokens)
        if parts[0] >= parts[1] + _MANY:
            text = (
                f"another model: {percent(parts[0])} of the tokens by {model or '(none)'}, usually {percent(parts[1])}"
            )
            found.append(Cause(name="model", usual=parts[1], seen=parts[0], share=cause.share, text=text))
    return found


def _usual_price(now: Totals, usual: Totals | None) -> float:
    """What a token of a model usually costs; of one that was not used before, what it costs now."""
    before = None if usual is None else _ratio(usual.cost, usual.tokens)
    return before or _ratio(now.cost, now.tokens) or 0.0


def _less(whole: Totals, part: Totals | None) -> Totals:
    if part is None:
        return whole
    rest = [
        None if of_all is None else of_all - (of_part or 0) for of_all, of_part in zip(whole[2:], part[2:], strict=True)
    ]
    return Totals(whole.calls - part.calls, whole.failed - part.failed, *rest)


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None
