"""What is billed beside tokens, and what does the provider say it costs? Other units and prices of one payload."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any, Final

from langchain_tokens.money import reckoned
from langchain_tokens.reading.drafts import Draft, as_count, at, section_of
from langchain_tokens.reading.rows import Cost

__all__ = ("read_cost", "read_units", "read_words")

_HIGHEST_COST: Final = Decimal(1_000_000)  # of one call, in US dollars; what is above is no price
_LONGEST_WORD: Final = 32


def read_units(draft: Draft) -> None:
    """Take the numbers that the row names as units of something else than this model's tokens."""
    for way, names in draft.shape.read_units:
        part = section_of(draft, way) if way else draft.payload
        if not part:
            continue
        if names is None:
            for name, value in part.items():
                _put_unit(draft, way[-1], name, value)
            continue
        for key, name in names:
            if (value := part.get(key)) is not None:
                _put_unit(draft, key, name, value)


def read_words(draft: Draft) -> None:
    """Count the call as one of the kind that a word of the payload names."""
    for key, prefix in draft.shape.words.items():
        word = draft.payload.get(key)
        if isinstance(word, str) and word.isidentifier() and len(word) <= _LONGEST_WORD:
            draft.units[prefix + word] = 1


def read_cost(draft: Draft) -> None:
    """Take the provider's own price of the call."""
    for cost in draft.shape.costs:
        value = draft.payload.get(cost.way[0])
        if value is None:
            continue
        if len(cost.way) > 1:
            value = at(value, cost.way[1:])
        elif isinstance(value, dict):
            continue  # another row's way leads into it
        if value is not None:
            draft.cost = _price(draft, cost, value)
            return


@reckoned
def _price(draft: Draft, cost: Cost, value: object) -> Decimal | None:
    said = _amount(value)
    currency = at(draft.payload, cost.currency) if cost.currency else None
    if said is None or said > _HIGHEST_COST * cost.per_usd or not (currency is None or currency == "USD"):
        draft.flags.add("nonsense:reported_cost")
        return None
    if said == 0 and cost.is_zero_unsaid:
        return None
    if not cost.upstream:
        return said / cost.per_usd
    upstream = _amount(at(draft.payload, cost.upstream))
    is_extra = None if cost.is_upstream_extra is None else draft.payload.get(cost.is_upstream_extra)
    if is_extra is True or (is_extra is None and upstream is not None and upstream > said):
        if upstream is None:
            draft.flags.add("reported_cost_partial")
            return None
        return said + upstream
    return said


def _amount(value: Any) -> Decimal | None:
    """An amount of money exactly as it was written; None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    amount = value if isinstance(value, Decimal) else Decimal(str(value))
    return amount if amount.is_finite() and amount >= 0 else None


def _put_unit(draft: Draft, place: str, name: object, value: object) -> None:
    if value is None:
        return
    number = value if isinstance(value, float) and isfinite(value) and value >= 0 else as_count(value)
    if number is None or not isinstance(name, str):
        draft.flags.add(f"nonsense:{place}")
        return
    if number == 0:
        return  # nothing was billed: what was not used is not listed
    draft.units[draft.shape.unit_prefix + name] = number
    if name in draft.shape.units_of_another_model:
        draft.flags.add("several_models")
