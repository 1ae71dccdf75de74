"""Where does a usage object stand? Looks through response bodies, and takes what is said beside the usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_tokens.plain import as_mapping, undoubled
from langchain_tokens.reading.counting import parse
from langchain_tokens.reading.drafts import Draft, at
from langchain_tokens.reading.formats import row
from langchain_tokens.reading.places import PLACES
from langchain_tokens.reading.rows import Shape

__all__ = ("Said", "counts_of", "located", "take_beside", "tier_beside")

Said = Mapping[Any, Any]
"""A body, or a part of one, as it was said."""

_USAGE_KEYS: Final = frozenset({"usage", "usage_metadata", "usageMetadata", "token_usage"})


def located(body: Said) -> Iterator[tuple[Shape | None, Said, Said]]:
    """Find each usage object of a body: its row, or None for one of no known shape, itself, and what it stands in."""
    shape = row(body)
    if shape is not None:
        yield shape, counts_of(shape, body) if shape.is_body else body, body
        return
    for *way, key in PLACES:
        holder = as_mapping(at(body, way)) if way else body
        value = holder.get(key) if holder else None
        if value is None or holder is None:
            continue
        found = _summed(value) if isinstance(value, list) else as_mapping(value)
        if not found:
            continue
        shape = row(found)
        if shape is not None:
            yield shape, counts_of(shape, found) if shape.is_body else found, holder
        elif key in _USAGE_KEYS:
            yield None, found, holder


def counts_of(shape: Shape, body: Said) -> Said:
    """A payload without the content that stands beside its counts."""
    keys = {key for section, names in shape.says.items() for key in ((section,) if section else names)}
    names = (*keys, *shape.adds, *shape.units, *shape.words, *shape.tier_keys)
    kept = {key: body[key] for key in names if body.get(key) is not None}
    for section, tally in shape.lists.items():
        entries = body.get(section)
        if isinstance(entries, list):
            counts = [at(entry, (tally.count,)) for entry in entries]
            kept[section] = [{tally.count: count} for count in counts if count is not None]
    return kept


def tier_beside(said: Said) -> str | None:
    """The service tier as it is said beside the usage."""
    tier = said.get("service_tier")
    if tier is None and "serviceTier" in said:
        tier = at(said, ("serviceTier", "type"))
    return undoubled(tier) if isinstance(tier, str) and tier else None


def take_beside(draft: Draft, shape: Shape, *holders: Said) -> None:
    """Take what stands beside the usage into the draft: other units, prices, the parts of several models."""
    for holder in holders:
        if shape.any_of.isdisjoint(holder):
            continue
        beside = parse(shape, holder)
        draft.take_beside(beside)
        draft.flags |= beside.flags
        entries = at(holder, shape.breakdown)
        if isinstance(entries, list) and entries:
            _take_breakdown(draft, entries)


def _take_breakdown(draft: Draft, entries: list[Any]) -> None:
    """Keep what each model used, where the parts make up the whole: in streams each repeats the whole."""
    units: dict[str, int] = {}
    sums = {"input_tokens": 0, "output_tokens": 0}
    for entry in entries:
        name, usage = at(entry, ("model",)), as_mapping(at(entry, ("usage",)))
        shape = row(usage) if usage else None
        if shape is None or usage is None or not isinstance(name, str):
            continue
        draft.flags.add("several_models")
        said = parse(shape, usage).counts
        for count in sums:
            units[f"{name}:{count}"] = units.get(f"{name}:{count}", 0) + said.get(count, 0)
            sums[count] += said.get(count, 0)
    if units and all(draft.counts.get(count) == total for count, total in sums.items()):
        draft.units.update(units)


def _summed(entries: list[Any]) -> Said:
    """One payload for a list of them: the results of several prompts, each with its own counts."""
    summed: dict[Any, Any] = {}
    for entry in entries:
        part = as_mapping(entry)
        shape = row(part) if part else None
        if part is None or shape is None:
            continue
        for key, value in counts_of(shape, part).items():
            if type(value) is int:
                summed[key] = summed.get(key, 0) + value
    return summed
