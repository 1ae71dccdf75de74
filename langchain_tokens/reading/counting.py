"""How is a payload of a known shape turned into counts? The reader behind the table in `formats`; knows no provider.

Contradictions (a detail above its total, a total that is not the sum) are kept as said and named by a flag, unless the
numbers themselves prove which detail was left out. A value that cannot be a count (negative, a truth value, text, a
list, NaN, a fraction, above 63 bits) is left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from langchain_tokens.making import maker
from langchain_tokens.plain import as_mapping, detached, undoubled
from langchain_tokens.reading.agreement import check, derive
from langchain_tokens.reading.drafts import LARGEST, Draft, as_count, section_of
from langchain_tokens.reading.extras import read_cost, read_units, read_words
from langchain_tokens.reading.rows import Plan, Shape, Tally
from langchain_tokens.usage import TokenUsage

__all__ = ("NOTHING", "UNREADABLE", "Reading", "finish", "parse", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read out of one payload, or out of all that came with one answer."""

    usage: TokenUsage | None
    """The counts; None where nothing was said."""

    flags: tuple[str, ...]
    """What is odd about it, sorted, each name once, such as `"total_mismatch"` or `"nonsense:input_tokens"`."""

    raw: Mapping[str, Any] | None
    """A plain, detached copy of the payload it was read from, fit for JSON."""

    shape: str | None
    """The name of the row of the table that matched."""

    reported_cost_usd: Decimal | None = None
    """What the provider itself says the call cost, in US dollars; None where it says nothing."""


_make_reading: Final = maker(Reading)
_make_usage: Final = maker(TokenUsage)
NOTHING: Final = Reading(usage=None, flags=(), raw=None, shape=None)
UNREADABLE: Final = Reading(usage=None, flags=("unreadable",), raw=None, shape=None)

_SPLIT: Final = ("cache_write_5m_tokens", "cache_write_1h_tokens")


def parse(shape: Shape, payload: Mapping[Any, Any]) -> Draft:
    """Read one payload, which is not changed, by one row of the table; inclusive counts, not yet checked."""
    draft = Draft(shape, payload)
    _read_keys(draft, shape.read_first)
    if shape.read_then:
        _add_keys(draft, shape.read_then)
    for section, tally in shape.lists.items():
        _read_list(draft, section, tally)
    _settle(draft)
    if shape.read_units:
        read_units(draft)
    if shape.words:
        read_words(draft)
    if shape.rounds is not None:
        _read_rounds(draft, payload.get(shape.rounds))
    if shape.costs:
        read_cost(draft)
    draft.tier = _tier(draft)
    return draft


def finish(draft: Draft, tier: object = None) -> Reading:
    """Derive what follows from what was said, check the counts against each other, and freeze them.

    Args:
        draft: What was read.
        tier: The service tier as said beside the usage; the usage's own stands in where this is not text.

    Returns:
        The reading; its `usage` is None if the draft is empty.

    """
    counts, flags = draft.counts, draft.flags
    derive(draft)
    if "input_missing" in flags and "input_tokens" in counts:
        flags.discard("input_missing")
    check(counts, flags)
    usage = None
    if counts or draft.units:
        usage = _make_usage(
            **counts,
            other_units=draft.units or None,
            service_tier=tier if isinstance(tier, str) and tier else draft.tier,
        )
    return _make_reading(
        usage=usage,
        flags=tuple(sorted(flags)) if flags else (),
        raw=detached(draft.payload),
        shape=draft.shape.name,
        reported_cost_usd=draft.cost,
    )


def unknown(payload: Mapping[Any, Any]) -> Reading:
    """A reading of a payload that stands where usage stands, but has no known shape; kept for a later reader."""
    return Reading(usage=None, flags=("unknown_shape",), raw=detached(payload), shape=None)


def _read_keys(draft: Draft, plan: Plan) -> None:
    counts, payload = draft.counts, draft.payload
    for way, names in plan:
        part = section_of(draft, way) if way else payload
        if not part:
            continue
        for key, name in names:
            value = part.get(key)
            if value is None or name in counts:
                continue
            if type(value) is int and 0 <= value <= LARGEST:
                counts[name] = value
                continue
            number = as_count(value)
            if number is None:
                draft.flags.add(f"nonsense:{name}")
            else:
                counts[name] = number


def _add_keys(draft: Draft, plan: Plan) -> None:
    usual = draft.shape.usual_keys
    for way, names in plan:
        part = section_of(draft, way) if way else draft.payload
        if not part or part.keys() <= usual[way]:
            continue
        for key, name in names:
            value = part.get(key)
            if value is not None:
                draft.add(name, value)


def _read_list(draft: Draft, section: str, tally: Tally) -> None:
    entries = draft.payload.get(section)
    if entries is None:
        return
    if not isinstance(entries, list | tuple):
        draft.flags.add(f"nonsense:{section}")
        return
    for entry in entries:
        part = as_mapping(entry) or {}
        label = part.get(tally.label) if tally.label is not None else None
        value = part.get(tally.count)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is None or not (label is None or isinstance(label, str | int)):
            continue
        if label in tally.names:
            draft.add(tally.names[label], value)
        elif label in tally.units and (number := as_count(value)) is not None:
            draft.add_unit(tally.units[label], number)


def _settle(draft: Draft) -> None:
    """Bring the row's own convention to the common one."""
    shape, counts = draft.shape, draft.counts
    if _SPLIT[0] in counts or _SPLIT[1] in counts:
        split = [counts[name] for name in _SPLIT if name in counts]
        said_write = counts.get("cache_write_tokens")
        if said_write is None or (said_write == 0 and shape.is_split_instead_of_write):
            draft.put_sum("cache_write_tokens", split)
    for outside in shape.outside:
        if outside.mark is None or _is_said(draft, outside.mark):
            _add_outside(draft, outside.total, outside.details, outside.flag)
    if shape.zero_input_if_empty is not None and _is_made_up(draft, shape.zero_input_if_empty):
        # The total, being the client's sum, is no better known than the input.
        del counts["input_tokens"]
        counts.pop("total_tokens", None)
        draft.flags.add("input_missing")


def _add_outside(draft: Draft, total: str, details: tuple[str, ...], flag: str | None) -> None:
    counts = draft.counts
    left_out = [counts[name] for name in details if counts.get(name)]
    if total not in counts or not left_out:
        return
    if counts.get("total_tokens") == counts.get("input_tokens", 0) + counts.get("output_tokens", 0):
        del counts["total_tokens"]  # it leaves out the same, and follows from the corrected counts
    draft.put_sum(total, (counts[total], *left_out))
    if flag is not None:
        draft.flags.add(flag)


def _is_said(draft: Draft, mark: tuple[str, str]) -> bool:
    section, key = mark
    part = draft.payload.get(section) if section else draft.payload
    return (type(part) is dict or isinstance(part, Mapping)) and part.get(key) is not None


def _is_made_up(draft: Draft, section: str) -> bool:
    """Whether an input of 0 stands for an input that nobody said.

    A streaming client that never sees the input fills in 0 and leaves an empty section of details. An input that is
    truly 0 comes with details, or from a client that has no such section at all, or is confirmed by the provider's own
    payload, which then fills the gap that is made here. An answer that has output always had some input.
    """
    counts = draft.counts
    return (
        counts.get("input_tokens") == 0
        and counts.get("output_tokens", 0) > 0
        and isinstance(draft.payload.get(section), Mapping)
        and not draft.payload[section]
    )


def _read_rounds(draft: Draft, rounds: object) -> None:
    """Sum up the rounds; where they exceed the usage itself, keep both sums as units: another model may have run."""
    if not isinstance(rounds, list):
        return
    shape = replace(draft.shape, rounds=None)
    sums = {"input_tokens": 0, "output_tokens": 0}
    for usage in rounds:
        part = as_mapping(usage)
        if not part:
            continue
        said = parse(shape, part).counts
        for name in sums:
            sums[name] += said.get(name, 0)
        if isinstance(part.get("model"), str):
            draft.flags.add("several_models")
    if any(draft.counts.get(name, 0) < total <= LARGEST for name, total in sums.items()):
        draft.flags.add("rounds_above_usage")
        draft.units |= {f"rounds_{name}": total for name, total in sums.items()}


def _tier(draft: Draft) -> str | None:
    payload = draft.payload
    for key in draft.shape.tier_keys:
        said = payload.get(key)
        if isinstance(said, str) and said:
            return undoubled(said).lower().removeprefix(draft.shape.tier_prefix)
    for section, marks in draft.shape.tier_marks.items():
        part = payload.get(section)
        if type(part) is dict or isinstance(part, Mapping):
            for mark in marks:
                if mark in part:
                    return mark
            return None
    return None
