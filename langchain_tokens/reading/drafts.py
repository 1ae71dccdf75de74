"""What is known of a payload while it is being read? The draft of a reading, and how a single value becomes a count."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from langchain_tokens.plain import as_mapping
from langchain_tokens.reading.rows import Shape

__all__ = ("LARGEST", "Draft", "as_count", "at", "section_of")

LARGEST: Final = 2**63 - 1
"""The largest count: what a BIGINT column holds."""
_BOTH: Final = frozenset({"input_tokens", "output_tokens"})


@dataclass(slots=True)
class Draft:
    """Counts while they are being read."""

    shape: Shape
    payload: Mapping[Any, Any]
    counts: dict[str, int] = field(default_factory=dict)
    units: dict[str, int | float] = field(default_factory=dict)
    tier: str | None = None
    flags: set[str] = field(default_factory=set)
    cost: Decimal | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self.counts and not self.units

    @property
    def says_zero(self) -> bool:
        """Whether input and output are said to be 0, and all else that is said."""
        return self.counts.keys() >= _BOTH and not any(self.counts.values())

    def add(self, name: str, value: object) -> None:
        """Add to a count; what cannot be a count is left out and named."""
        number = as_count(value)
        if number is None:
            self.flags.add(f"nonsense:{name}")
        else:
            self.put_sum(name, (self.counts.get(name, 0), number))

    def put_sum(self, name: str, parts: Iterable[int]) -> None:
        """Set a count that is a sum, unless it is too large to be one."""
        total = sum(parts)
        if total > LARGEST:
            self.flags.add(f"nonsense:{name}")
            self.counts.pop(name, None)
        else:
            self.counts[name] = total

    def add_unit(self, name: str, number: float) -> None:
        """Add to one of the other units."""
        self.units[name] = self.units.get(name, 0) + number

    def fill(self, other: Draft) -> None:
        """Take what this one leaves unsaid from another payload of the same answer."""
        if self.says_zero and any(other.counts.values()):
            self.counts = {}  # a client that knows none of the payload's names fills in zeros
        if self.is_empty:
            self.shape = other.shape
        if not other.is_empty:
            self.payload = other.payload
        # The other's nonsense, or a correction of it, matters only where it could have told something.
        if other.flags:
            self.flags |= {flag for flag in other.flags if flag.removeprefix("nonsense:") not in self.counts}
        self.counts = {**other.counts, **self.counts}
        self.take_beside(other)

    def take_beside(self, other: Draft) -> None:
        """Take all but the counts of tokens from what stood beside them, where this one is silent."""
        if other.units:
            self.units = {**other.units, **self.units}
        self.tier = self.tier or other.tier
        if self.cost is None:
            self.cost = other.cost


def at(body: Any, way: Iterable[str]) -> Any:
    """What stands at the end of a way of keys; None where the way breaks off."""
    for key in way:
        body = as_mapping(body)
        if not body:
            return None
        body = body.get(key)
    return body


def as_count(value: object) -> int | None:
    """A count, also of an unusual type, such as 12.0 or a number of numpy; None if it cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    number = operator.index(value)  # type: ignore[arg-type]  # has __index__, as was just asked
    return number if 0 <= number <= LARGEST else None


def section_of(draft: Draft, way: tuple[str, ...]) -> Mapping[Any, Any] | None:
    """A nested part of the payload; one that is said but cannot be looked into is flagged."""
    value = draft.payload.get(way[0]) if len(way) == 1 else at(draft.payload, way)
    if value is None or type(value) is dict:
        return value
    part = as_mapping(value)
    if part is None:
        draft.flags.add(f"nonsense:{way[-1]}")
    return part
