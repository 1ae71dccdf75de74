"""How is a payload of a known shape turned into counts? The reader behind the table in `shapes`; knows no provider.

Contradictions (a detail above its total, a total that is not the sum) are kept as said and named by a flag. A value
that cannot be a count (negative, a truth value, text, a list, NaN, a fraction, above 63 bits) is left out and named.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from langchain_tokens.plain import as_mapping, detached
from langchain_tokens.usage import TokenUsage

__all__ = ("NOTHING", "UNREADABLE", "Draft", "Keys", "Reading", "Shape", "finish", "parse", "unknown")

Keys = Mapping[str, Mapping[str, str]]
"""Section of a payload ("" for its top) → key → field of `TokenUsage`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One row of the table: how one wire format says its usage."""

    name: str
    any_of: frozenset[str]
    """A payload with one of these keys has this shape, unless a row above it matches as well."""

    says: Keys
    """Where each count stands; the first key that says one wins."""

    adds: Keys = field(default_factory=dict)
    """Keys that hold a further part of a count, added to what `says` gave."""

    outside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Total → the details that this shape leaves out of it; they are added, so that counts are inclusive."""

    split_replaces_write: bool = False
    """The split of cache writes by time to live stands in place of their count, which is then said to be 0."""

    zero_input_if_empty: str | None = None
    """The section that is there but empty where the client made up an input of 0 that no provider said."""

    units: tuple[str, ...] = ()
    """Sections of numbers that are not tokens, kept by name in `other_units`."""

    tier_marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Section → keys that name the service tier by being there."""

    rounds: str | None = None
    """Key of the list with the usage of each round of a call whose top level may be its last round only."""


NOTHING: Final = Reading(usage=None, flags=(), raw=None, shape=None)
UNREADABLE: Final = Reading(usage=None, flags=("unreadable",), raw=None, shape=None)

_SPLIT: Final = ("cache_write_5m_tokens", "cache_write_1h_tokens")
_DETAILS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("input_tokens", ("cache_read_tokens",)),
    ("input_tokens", ("cache_write_tokens",)),
    ("input_tokens", ("audio_input_tokens",)),
    ("output_tokens", ("reasoning_tokens",)),
    ("output_tokens", ("audio_output_tokens",)),
    ("cache_write_tokens", _SPLIT),
)
_LARGEST: Final = 2**63 - 1  # what a BIGINT column holds


@dataclass(slots=True)
class Draft:
    """Counts while they are being read."""

    shape: Shape
    payload: Mapping[Any, Any]
    counts: dict[str, int] = field(default_factory=dict)
    units: dict[str, int | float] = field(default_factory=dict)
    tier: str | None = None
    flags: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.counts and not self.units

    def put_sum(self, name: str, parts: Iterable[int]) -> None:
        """Set a count that is a sum, unless it is too large to be one."""
        total = sum(parts)
        if total > _LARGEST:
            self.flags.add(f"nonsense:{name}")
            self.counts.pop(name, None)
        else:
            self.counts[name] = total

    def fill(self, other: Draft) -> None:
        """Take what this one leaves unsaid from another payload of the same answer."""
        if self.is_empty:
            self.shape = other.shape
        if not other.is_empty:
            self.payload = other.payload
        self.counts = {**other.counts, **self.counts}
        self.units = self.units or other.units
        self.tier = self.tier or other.tier
        # The other's nonsense matters only where it could have told something.
        self.flags |= {flag for flag in other.flags if flag.removeprefix("nonsense:") not in self.counts}


def parse(shape: Shape, payload: Mapping[Any, Any]) -> Draft:
    """Read one payload, which is not changed, by one row of the table; inclusive counts, not yet checked."""
    draft = Draft(shape, payload)
    _read_keys(draft, shape.says, add=False)
    if shape.adds:
        _read_keys(draft, shape.adds, add=True)
    _settle(draft)
    for section in shape.units:
        _read_units(draft, section)
    if shape.rounds is not None:
        _read_rounds(draft, payload.get(shape.rounds))
    draft.tier = _tier(draft)
    return draft


def finish(draft: Draft, tier: object = None) -> Reading:
    """Derive the total where it is not said, check the counts against each other, and freeze them.

    Args:
        draft: What was read.
        tier: The service tier as said beside the usage; the usage's own stands in where this is not text.

    Returns:
        The reading; its `usage` is None if the draft is empty.

    """
    counts, flags = draft.counts, draft.flags
    said_input, said_output = counts.get("input_tokens"), counts.get("output_tokens")
    if said_input is not None and said_output is not None and "total_tokens" not in counts:
        draft.put_sum("total_tokens", (said_input, said_output))
    if said_input is not None:
        flags.discard("input_missing")
    _check(counts, flags)
    usage = None
    if not draft.is_empty:
        usage = TokenUsage(
            **counts,
            other_units=draft.units or None,
            service_tier=tier if isinstance(tier, str) and tier else draft.tier,
        )
    return Reading(usage=usage, flags=tuple(sorted(flags)), raw=detached(draft.payload), shape=draft.shape.name)


def unknown(payload: Mapping[Any, Any]) -> Reading:
    """A reading of a payload that stands where usage stands, but has no known shape; kept for a later reader."""
    return Reading(usage=None, flags=("unknown_shape",), raw=detached(payload), shape=None)


def _read_keys(draft: Draft, keys: Keys, *, add: bool) -> None:
    counts, payload = draft.counts, draft.payload
    for section, names in keys.items():
        part = _section(draft, section) if section else payload
        if not part or (add and part.keys() <= draft.shape.says[section].keys()):
            continue
        for key, name in names.items():
            value = part.get(key)
            if value is None or (not add and name in counts):
                continue
            number = value if type(value) is int and 0 <= value <= _LARGEST else _count(value)
            if number is None:
                draft.flags.add(f"nonsense:{name}")
            elif add:
                draft.put_sum(name, (counts.get(name, 0), number))
            else:
                counts[name] = number


def _section(draft: Draft, section: str) -> Mapping[Any, Any] | None:
    """A nested part of the payload; one that is said but cannot be looked into is flagged."""
    value = draft.payload.get(section)
    part = as_mapping(value)
    if part is None and value is not None:
        draft.flags.add(f"nonsense:{section}")
    return part


def _count(value: object) -> int | None:
    """A count of an unusual type, such as 12.0 or a number of numpy; None if it cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    number = operator.index(value)  # type: ignore[arg-type]  # has __index__, as was just asked
    return number if 0 <= number <= _LARGEST else None


def _settle(draft: Draft) -> None:
    """Bring the row's own convention to the common one."""
    shape, counts = draft.shape, draft.counts
    split = [counts[name] for name in _SPLIT if name in counts]
    said_write = counts.get("cache_write_tokens")
    if split and (said_write is None or (said_write == 0 and shape.split_replaces_write)):
        draft.put_sum("cache_write_tokens", split)
    for total, details in shape.outside.items():
        if total in counts:
            draft.put_sum(total, (counts[total], *(counts[name] for name in details if name in counts)))
    if shape.zero_input_if_empty is not None and _is_made_up(draft, shape.zero_input_if_empty):
        # The total, being the client's sum, is no better known than the input.
        del counts["input_tokens"]
        counts.pop("total_tokens", None)
        draft.flags.add("input_missing")


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


def _read_units(draft: Draft, section: str) -> None:
    for name, value in (_section(draft, section) or {}).items():
        if value is None:
            continue
        number = value if isinstance(value, float) and isfinite(value) and value >= 0 else _count(value)
        if number is None or not isinstance(name, str):
            draft.flags.add(f"nonsense:{section}")
        else:
            draft.units[name] = number


def _read_rounds(draft: Draft, rounds: object) -> None:
    """Sum up the rounds; where they exceed the usage itself, keep both sums as units: another model may have run."""
    if not isinstance(rounds, list):
        return
    sums = {"input_tokens": 0, "output_tokens": 0}
    for usage in rounds:
        part = as_mapping(usage)
        said = parse(dataclasses.replace(draft.shape, rounds=None), part).counts if part else {}
        for name in sums:
            sums[name] += said.get(name, 0)
    if any(draft.counts.get(name, 0) < total <= _LARGEST for name, total in sums.items()):
        draft.flags.add("rounds_above_usage")
        draft.units |= {f"rounds_{name}": total for name, total in sums.items()}


def _tier(draft: Draft) -> str | None:
    said = draft.payload.get("service_tier")
    if isinstance(said, str) and said:
        return said
    for section, marks in draft.shape.tier_marks.items():
        part = draft.payload.get(section)
        if isinstance(part, Mapping):
            return next((mark for mark in marks if mark in part), None)
    return None


def _check(counts: Mapping[str, int], flags: set[str]) -> None:
    """Name each contradiction between the counts; none of them is changed."""
    for total, details in _DETAILS:
        limit = counts.get(total)
        if limit is None:
            continue
        said = [name for name in details if counts.get(name)]
        if said and sum(counts[name] for name in said) > limit:
            flags.update(f"detail_above_total:{name}" for name in said)
    said_input, said_output, total_said = (counts.get(f"{name}_tokens") for name in ("input", "output", "total"))
    if said_input is None or said_output is None:
        return
    cache = counts.get("cache_read_tokens", 0) + counts.get("cache_write_tokens", 0)
    if cache > said_input or (cache and total_said == said_input + said_output + cache):
        flags.add("cache_outside_input")
    if total_said is not None and total_said != said_input + said_output:
        flags.add("total_mismatch")
