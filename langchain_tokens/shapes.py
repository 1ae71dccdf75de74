"""What does a response say of its usage? Reads bodies, streams and what LangChain hands over.

The table of shapes behind it is in `formats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from langchain_tokens.plain import as_mapping
from langchain_tokens.reading.counting import NOTHING, UNREADABLE, Reading, finish, parse, unknown
from langchain_tokens.reading.drafts import Draft
from langchain_tokens.reading.finding import Said, counts_of, located, take_beside, tier_beside
from langchain_tokens.reading.folding import read_frames
from langchain_tokens.reading.formats import KNOWN, LANGCHAIN, SHAPES, row
from langchain_tokens.reading.places import BESIDE, BILLED_ONLY, METADATA
from langchain_tokens.reading.rows import Shape

__all__ = ("KNOWN", "SHAPES", "Reading", "Shape", "read", "read_answer")

_CARRIERS: Final = ("token_usage", "usage", "usage_metadata", "body", "token_count", "amazon-bedrock-invocationMetrics")
_HAS_NO_CARRIER: Final = frozenset(_CARRIERS).isdisjoint
_NOT_COUNTS: Final = frozenset({"total_cost"})  # LangChain's mark of an answer from its cache, in US dollars


def read(payload: object) -> Reading:
    """Read a usage object, a whole response body that contains one, or all frames of a stream; never raises.

    Args:
        payload: A dict, an SDK object (pydantic or plain), a LangChain message, an event of a stream, or a list or
            tuple of them: the frames of one stream, in their order.

    Returns:
        The counts, their oddities and the payload; `usage` is None where nothing of a known shape was found, and the
        flag `unreadable` says that the payload itself could not be looked at.

    """
    try:
        return read_frames(payload) if isinstance(payload, list | tuple) else _read(payload)
    except Exception:  # noqa: BLE001  # a usage payload is foreign data of any kind, and the host's call must not fail for it
        return UNREADABLE


def read_answer(
    *,
    usage_metadata: Mapping[str, Any] | None,
    response_metadata: Mapping[str, Any] | None,
    llm_output: Mapping[str, Any] | None,
    generation_info: Mapping[str, Any] | None,
) -> Reading:
    """Read the usage of one answer out of what LangChain hands over; never raises.

    `usage_metadata` comes first. The provider's own payload (from `llm_output`, then `response_metadata`, then
    `generation_info`) is read where that is missing, and otherwise fills what it leaves unsaid; a count that is said
    is never replaced.

    Args:
        usage_metadata: The message's, as LangChain normalised it.
        response_metadata: The message's.
        llm_output: The result's.
        generation_info: The first generation's.

    Returns:
        The counts and their oddities; `raw` is the provider's own payload where there is one.

    """
    try:
        handed = (as_mapping(llm_output), as_mapping(response_metadata), as_mapping(generation_info))
        return _read_answer(as_mapping(usage_metadata), handed)
    except Exception:  # noqa: BLE001  # as in `read`
        return UNREADABLE


def _read(payload: object) -> Reading:
    body = as_mapping(payload)
    if not body:
        return NOTHING
    if "response_metadata" in body:  # a LangChain message
        return _read_answer(as_mapping(body.get("usage_metadata")), (None, as_mapping(body["response_metadata"]), None))
    strange = None
    for shape, found, holder in located(body):
        if shape is None:
            strange = strange or found
            continue
        draft = parse(shape, found)
        take_beside(draft, BESIDE, holder, *(() if holder is body else (body,)))
        return finish(draft, None if found is holder else tier_beside(holder) or tier_beside(body))
    return NOTHING if strange is None else unknown(strange)


def _read_answer(usage_metadata: Said | None, handed: Iterable[Said | None]) -> Reading:
    draft = parse(LANGCHAIN, usage_metadata) if usage_metadata and not usage_metadata.keys() <= _NOT_COUNTS else None
    strange, tier, is_filled = None, None, False
    for said in handed:
        if not said:
            continue
        tier = tier or tier_beside(said)
        for shape, found in () if is_filled else _carried(said):
            if shape is None:
                strange = strange or found
                continue
            other = parse(shape, found)
            draft = _filled(draft, other)
            is_filled = not other.is_empty
            if is_filled:
                break
        if draft is not None and not METADATA.any_of.isdisjoint(said):
            take_beside(draft, METADATA, said)
    if draft is not None:
        return finish(draft, tier)
    return NOTHING if strange is None else unknown(strange)


def _carried(said: Said) -> Iterator[tuple[Shape | None, Said]]:
    """Each payload of a provider that one of LangChain's mappings carries, with its row, or None for no known one."""
    if not _HAS_NO_CARRIER(said):
        for key in _CARRIERS:
            value = said.get(key)
            found = as_mapping(value) if value is not None else None
            if not found:
                continue
            if key == "body":  # the answer of a call that failed after it was billed
                yield from ((shape, usage) for shape, usage, _ in located(found) if shape is not None)
            elif key == "token_count" and not BILLED_ONLY.any_of.isdisjoint(found):
                yield BILLED_ONLY, found
            else:
                yield row(found), found
    shape = row(said)
    if shape is not None:
        yield shape, counts_of(shape, said)


def _filled(draft: Draft | None, other: Draft) -> Draft:
    if other.shape is BILLED_ONLY and (draft is None or _is_of_billed_units(draft, other)):
        other.flags.add("billed_units_only")
        return other
    if draft is None:
        return other
    draft.fill(other)
    return draft


def _is_of_billed_units(draft: Draft, billed: Draft) -> bool:
    return all(
        draft.counts.get(name) == billed.units.get(f"billed_{name}") for name in ("input_tokens", "output_tokens")
    )
