"""How does each provider say it? A table of shapes, one row each, and where LangChain and responses keep the payloads.

A row states where a shape keeps each count and what contains what. To add a provider is to add a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from langchain_tokens.counting import NOTHING, UNREADABLE, Draft, Keys, Reading, Shape, finish, parse, unknown
from langchain_tokens.plain import as_mapping

__all__ = ("KNOWN", "SHAPES", "Reading", "Shape", "read", "read_answer")

_LANGCHAIN_DETAILS: Final[Keys] = {
    "input_token_details": {
        "cache_read": "cache_read_tokens",
        "cache_creation": "cache_write_tokens",
        "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
        "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
        "audio": "audio_input_tokens",
    },
    "output_token_details": {"reasoning": "reasoning_tokens", "audio": "audio_output_tokens"},
}
_TIERS: Final = ("flex", "priority")
_PLAIN: Final = {name: name for name in ("input_tokens", "output_tokens", "total_tokens")}

LANGCHAIN: Final = Shape(
    name="langchain",
    any_of=frozenset(_LANGCHAIN_DETAILS),
    says={"": _PLAIN, **_LANGCHAIN_DETAILS},
    # Under a tier the details carry its name (`flex_cache_read`). The bare key `flex` beside them is what the total
    # leaves without the details: it marks the tier and is not a count of its own.
    adds={
        section: {f"{tier}_{key}": name for tier in _TIERS for key, name in keys.items()}
        for section, keys in _LANGCHAIN_DETAILS.items()
    },
    split_replaces_write=True,
    zero_input_if_empty="input_token_details",
    tier_marks={"input_token_details": _TIERS},
)

# The first row that matches wins, so a row with marks of its own stands above the rows it could be taken for.
SHAPES: Final[tuple[Shape, ...]] = (
    Shape(
        name="openai_chat",
        any_of=frozenset({"prompt_tokens", "completion_tokens"}),
        says={
            "": {
                "prompt_tokens": "input_tokens",
                "completion_tokens": "output_tokens",
                "total_tokens": "total_tokens",
                "cached_tokens": "cache_read_tokens",
                "num_cached_tokens": "cache_read_tokens",
            },
            "prompt_tokens_details": {
                "cached_tokens": "cache_read_tokens",
                "cache_write_tokens": "cache_write_tokens",
                "audio_tokens": "audio_input_tokens",
            },
            "completion_tokens_details": {
                "reasoning_tokens": "reasoning_tokens",
                "audio_tokens": "audio_output_tokens",
            },
        },
    ),
    LANGCHAIN,
    Shape(
        name="anthropic",
        any_of=frozenset(
            {
                "cache_creation",
                "cache_creation_input_tokens",
                "cache_read_input_tokens",
                "inference_geo",
                "iterations",
                "server_tool_use",
            }
        ),
        says={
            "": {
                **_PLAIN,
                "cache_read_input_tokens": "cache_read_tokens",
                "cache_creation_input_tokens": "cache_write_tokens",
            },
            "cache_creation": {
                "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
                "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
            },
            "output_tokens_details": {"thinking_tokens": "reasoning_tokens"},
        },
        outside={"input_tokens": ("cache_read_tokens", "cache_write_tokens")},
        units=("server_tool_use",),
        rounds="iterations",
    ),
    Shape(
        name="openai_responses",
        any_of=frozenset({"input_tokens_details", "output_tokens_details"}),
        says={
            "": _PLAIN,
            "input_tokens_details": {"cached_tokens": "cache_read_tokens", "cache_write_tokens": "cache_write_tokens"},
            "output_tokens_details": {"reasoning_tokens": "reasoning_tokens"},
        },
    ),
    # A bare pair says the same thing in every format: no cache is named whose place could be in doubt.
    Shape(name="input_output", any_of=frozenset({"input_tokens", "output_tokens"}), says={"": _PLAIN}),
)
"""The table. A new provider is a new row."""

KNOWN: Final[tuple[str, ...]] = tuple(shape.name for shape in SHAPES)
"""The names of all shapes that can be read."""

# Where a usage object stands in a whole response body, or in an event of a stream; the first that holds one is read.
_PLACES: Final[tuple[tuple[str, ...], ...]] = (
    ("usage",),
    ("usage_metadata",),
    ("token_usage",),
    ("response", "usage"),
    ("message", "usage"),
    ("body", "usage"),
)
_Handed = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None, Mapping[str, Any] | None]
_LLM_OUTPUT, _RESPONSE_METADATA, _GENERATION_INFO = range(3)
# Where LangChain hands over the provider's own payload. `body` is the answer of a call that failed after it was billed.
_WAYS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (_LLM_OUTPUT, ("token_usage",)),
    (_LLM_OUTPUT, ("usage",)),
    (_RESPONSE_METADATA, ("token_usage",)),
    (_RESPONSE_METADATA, ("usage",)),
    (_RESPONSE_METADATA, ("usage_metadata",)),
    (_RESPONSE_METADATA, ("body", "usage")),
    (_GENERATION_INFO, ("token_usage",)),
    (_GENERATION_INFO, ("usage",)),
    (_GENERATION_INFO, ("usage_metadata",)),
    (_GENERATION_INFO, ()),
)
_NOT_COUNTS: Final = frozenset({"total_cost"})  # LangChain's mark of an answer from its cache, in US dollars


def read(payload: object) -> Reading:
    """Read a usage object, or a whole response body that contains one; never raises.

    Args:
        payload: A dict, an SDK object (pydantic or plain), a LangChain message, an event of a stream.

    Returns:
        The counts, their oddities and the payload; `usage` is None where nothing of a known shape was found, and the
        flag `unreadable` says that the payload itself could not be looked at.

    """
    try:
        return _read(payload)
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
    draft = _draft(body)
    return _from_places(body) if draft is None else finish(draft)


def _from_places(body: Mapping[Any, Any]) -> Reading:
    strange = None
    for *way, key in _PLACES:
        holder = _at(body, way)
        found = as_mapping(holder.get(key)) if holder else None
        if not found or holder is None:
            continue
        draft = _draft(found)
        if draft is not None:
            return finish(draft, holder.get("service_tier"))
        strange = strange or found
    return NOTHING if strange is None else unknown(strange)


def _read_answer(usage_metadata: Mapping[str, Any] | None, handed: _Handed) -> Reading:
    draft = parse(LANGCHAIN, usage_metadata) if usage_metadata and not _NOT_COUNTS.issuperset(usage_metadata) else None
    strange = None
    for index, way in _WAYS:
        found = _at(handed[index], way)
        if not found:
            continue
        other = _draft(found)
        if other is None:
            strange = strange or (found if way else None)
            continue
        if draft is None:
            draft = other
        else:
            draft.fill(other)
        if not other.is_empty:
            break
    if draft is not None:
        return finish(draft, next((tier for said in handed if said and (tier := said.get("service_tier"))), None))
    return NOTHING if strange is None else unknown(strange)


def _draft(payload: Mapping[Any, Any]) -> Draft | None:
    """Read a payload by the first row that matches it; None if none does."""
    shape = next((shape for shape in SHAPES if not shape.any_of.isdisjoint(payload)), None)
    return None if shape is None else parse(shape, payload)


def _at(body: Mapping[Any, Any] | None, way: Iterable[str]) -> Mapping[Any, Any] | None:
    """The mapping at the end of a way of keys; None where the way breaks off."""
    for key in way:
        if not body:
            return None
        body = as_mapping(body.get(key))
    return body
