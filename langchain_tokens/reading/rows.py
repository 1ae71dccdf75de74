"""What can a row of the table of shapes say? The words in which a wire format is described; knows no provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ("Cost", "Keys", "Outside", "Plan", "Shape", "Tally")

Keys = Mapping[str, Mapping[str, str]]
"""Section of a payload ("" for its top, a dot between the keys of a nested one) → key → field of `TokenUsage`."""

Plan = tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], ...]
"""Keys as the reader goes through them: the way to each section, and its pairs of key and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Details that a shape leaves out of a total; they are added, so that counts are inclusive."""

    total: str
    details: tuple[str, ...]
    flag: str | None = None
    """Names the correction, where it is one and not the shape's plain convention."""

    mark: tuple[str, str] | None = None
    """Section and key that are there where the details are left out; None where they always are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A list of counts, each with a label that says what was counted."""

    label: str | None
    """Key of the label; None where the counts have none."""

    count: str
    """Key of the count, which may be a list of one count."""

    names: Mapping[str | int | None, str]
    """Label → field of `TokenUsage`, to which the count is added."""

    units: Mapping[str | int | None, str] = field(default_factory=dict)
    """Label → name in `other_units`, to which the count is added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Where a shape says what the call cost."""

    way: tuple[str, ...]
    per_usd: int = 1
    """How many of its unit are one US dollar."""

    is_zero_unsaid: bool = False
    """A cost of 0 stands for one that nobody said."""

    upstream: tuple[str, ...] = ()
    """The way to what the provider behind it charged."""

    is_upstream_extra: str | None = None
    """The key that says whether that is charged beside the cost; where it is silent, one above the cost is."""

    currency: tuple[str, ...] = ()
    """The way to the currency; what is said to be in another one than US dollars is left out."""


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

    lists: Mapping[str, Tally] = field(default_factory=dict)
    """Sections that are lists of counts, added to what `says` and `adds` gave."""

    outside: tuple[Outside, ...] = ()
    """What this shape leaves out of its totals."""

    is_split_instead_of_write: bool = False
    """The split of cache writes by time to live stands in place of their count, which is then said to be 0."""

    zero_input_if_empty: str | None = None
    """The section that is there but empty where the client made up an input of 0 that no provider said."""

    units: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    """Numbers that are not counts of tokens, or not of this model's: section → key → name in `other_units`; None takes
    every number of the section by its own name.
    """

    unit_prefix: str = ""
    """Stands before each name in `other_units`."""

    units_of_another_model: tuple[str, ...] = ()
    """Names in `other_units` that count what another model did, where they are above 0."""

    words: Mapping[str, str] = field(default_factory=dict)
    """Keys of a word that a price depends on → prefix of its name in `other_units`, where the call counts as one."""

    tier_keys: tuple[str, ...] = ("service_tier",)
    """Keys of the service tier; the first that is text wins."""

    tier_prefix: str = ""
    """Stands before the tier where it is not the usual one, and says nothing of it."""

    tier_marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Section → keys that name the service tier by being there."""

    rounds: str | None = None
    """Key of the list with the usage of each round of a call whose top level may be its last round only."""

    breakdown: tuple[str, ...] = ()
    """The way to the list with the usage of each model that had a part in the call."""

    costs: tuple[Cost, ...] = ()
    """Where the provider's own price of the call stands; the first that says one wins."""

    frames: Literal["last", "update", "sum"] = "last"
    """How a stream's frames add up: the last says all, each replaces what it says anew, or each is a part."""

    is_body: bool = False
    """The counts stand in the response body itself, beside its content, which is then not kept."""

    is_stand_in: bool = False
    """Read only where no other shape was found: it is another party's count of the same tokens."""

    read_first: Plan = field(init=False, repr=False, compare=False, default=())
    read_then: Plan = field(init=False, repr=False, compare=False, default=())
    read_units: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...] | None], ...] = field(
        init=False, repr=False, compare=False, default=()
    )
    usual_keys: Mapping[tuple[str, ...], frozenset[str]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """Way to a section → keys that add nothing: where there are no others, it need not be read a second time."""

    def __post_init__(self) -> None:
        """Lay out once what is gone through for every payload."""
        said = {section: frozenset(keys) for section, keys in self.says.items()}
        object.__setattr__(self, "read_first", _plan(self.says))
        object.__setattr__(self, "read_then", _plan(self.adds))
        object.__setattr__(
            self,
            "read_units",
            tuple(
                (_way(section), None if keys is None else tuple(keys.items())) for section, keys in self.units.items()
            ),
        )
        object.__setattr__(
            self,
            "usual_keys",
            {_way(section): said.get(section, frozenset()) - keys.keys() for section, keys in self.adds.items()},
        )


def _plan(keys: Keys) -> Plan:
    return tuple((_way(section), tuple(names.items())) for section, names in keys.items())


def _way(section: str) -> tuple[str, ...]:
    return tuple(section.split(".")) if section else ()
