"""What does the model's answer say? Plain values copied out of LangChain's result while the event is handled.

The result object is shared: LangChain's cache and agents change it later, so nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from langchain_tokens.content import is_answer
from langchain_tokens.making import maker
from langchain_tokens.plain import as_mapping, undoubled
from langchain_tokens.reading.counting import UNREADABLE
from langchain_tokens.reading.running import RunningUsage
from langchain_tokens.reading.servertools import server_tools
from langchain_tokens.shapes import Reading, read, read_answer
from langchain_tokens.usage import TokenUsage

__all__ = ("UNREAD", "Answer", "read_result")

_MODEL_KEYS = ("model_name", "model", "model_id")
_FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "status")
_EMPTY: Final[Mapping[str, Any]] = {}
_HOLDERS: Final = ("body", "completion")
"""Attributes of an error that may hold the whole answer: as JSON text, a mapping, or the client's own object."""
_OWN_ID: Final = "lc_run-"
"""How ids begin that LangChain gives to messages without one; they say no more than the run's id does."""
_LONGEST_BODY: Final = 4_000_000
_MOST_CANDIDATES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one result says, beside its content."""

    reading: Reading
    model: str | None
    provider: str | None
    """Who answered, as the client says."""
    finish_reason: str | None
    tool_calls: tuple[str, ...]
    """The names of the tools that the model asked for, and then of those that the provider ran by itself."""
    message_id: str | None
    response_id: str | None
    """The id that the provider gave to its answer, where the message's own is one of LangChain's."""
    is_from_cache: bool
    """The mark of LangChain's cache is on it, and nothing of its own says that it was paid."""
    is_counted_elsewhere: bool
    """LangChain gives the usage of a text model's whole batch to its first prompt, and nothing to the others. Whether
    there was any, only the first call tells.
    """


_make_answer = maker(Answer)
UNREAD = Answer(
    reading=UNREADABLE,
    model=None,
    provider=None,
    finish_reason=None,
    tool_calls=(),
    message_id=None,
    response_id=None,
    is_from_cache=False,
    is_counted_elsewhere=False,
)
"""Of an answer that could not be read."""


def read_result(
    result: Any, run_id: str, *, error: BaseException | None = None, running: RunningUsage | None = None
) -> Answer:
    """Read the result of a call.

    With several generations each carries the whole call's usage, so only the first that has one counts.

    Args:
        result: LangChain's `LLMResult`, complete or what had arrived before an error.
        run_id: the call's own run, which fresh messages name in their id.
        error: what ended the call; some hold the answer that was billed before they were raised.
        running: what the pieces of a stream said of usage, if anybody watched.

    """
    llm_output = _mapping(getattr(result, "llm_output", None)) or _EMPTY
    totals = None if running is None else running.verdict()
    generation, reading = _chosen(result, llm_output, totals)
    held = _held_by(error) if reading.usage is None and error is not None else None
    if held is not None:
        reading = read(held)
    message = getattr(generation, "message", None)
    response_metadata = _mapping(getattr(message, "response_metadata", None)) or _EMPTY
    generation_info = _mapping(getattr(generation, "generation_info", None)) or _EMPTY
    message_id = getattr(message, "id", None)
    ran, units = server_tools(message, response_metadata)
    return _make_answer(
        reading=_with_units(reading, units) if units else reading,
        model=_first_text(_MODEL_KEYS, response_metadata, llm_output, held or _EMPTY),
        provider=_first_text(("model_provider",), response_metadata, llm_output),
        finish_reason=_first_text(_FINISH_KEYS, response_metadata, generation_info),
        tool_calls=(*_tool_names(message), *ran),
        message_id=message_id if isinstance(message_id, str) else None,
        response_id=_response_id(message_id, response_metadata),
        is_from_cache=not llm_output
        and _is_from_cache(_mapping(getattr(message, "usage_metadata", None)), message_id, run_id),
        is_counted_elsewhere=message is None and llm_output.get("token_usage") == {},
    )


def _chosen(result: Any, llm_output: Mapping[str, Any], totals: Mapping[str, Any] | None) -> tuple[Any, Reading]:
    """The generation that says the call's usage, and what it says; the first one where none does."""
    groups = getattr(result, "generations", None) or ()
    candidates = [generation for group in groups for generation in group or ()]
    for item in candidates:
        if getattr(getattr(item, "message", None), "usage_metadata", None):
            return item, _read_generation(item, llm_output, totals)
    readings = ((item, _read_generation(item, llm_output, totals)) for item in candidates[:_MOST_CANDIDATES] or (None,))
    fallback = next(readings)
    if fallback[1].usage is not None:
        return fallback
    # After a stream that broke off, what arrived comes first, and what the error's response says comes second.
    return next(((fallback[0], reading) for _, reading in readings if reading.usage is not None), fallback)


def _read_generation(generation: Any, llm_output: Mapping[str, Any], totals: Mapping[str, Any] | None) -> Reading:
    message = getattr(generation, "message", None)
    reading = read_answer(
        usage_metadata=_mapping(getattr(message, "usage_metadata", None)) if totals is None else totals,
        response_metadata=_mapping(getattr(message, "response_metadata", None)),
        llm_output=llm_output,
        generation_info=_mapping(getattr(generation, "generation_info", None)),
    )
    if totals is not None:
        reading = replace(reading, flags=tuple(sorted({*reading.flags, "cumulative_chunks"})))
    usage = reading.usage
    if usage is None or usage.input_tokens != 0 or usage.output_tokens != 0 or usage.total_tokens:
        return reading
    return _without_zeros(reading, usage) if is_answer(generation) else reading


def _without_zeros(reading: Reading, usage: TokenUsage) -> Reading:
    """What is left where all counts are 0 and yet there is an answer: its client or server had no counts."""
    left = TokenUsage(other_units=usage.other_units, service_tier=usage.service_tier) if usage.other_units else None
    return replace(reading, usage=left, flags=tuple(sorted({*reading.flags, "usage_missing"})))


def _held_by(error: BaseException) -> Mapping[Any, Any] | None:
    """The answer that the client could not take, out of the error that it raised instead; None without usage in it."""
    for name in _HOLDERS:
        held = getattr(error, name, None)
        if isinstance(held, str | bytes):
            held = _parsed(held)
        body = as_mapping(held)
        if body and read(body).usage is not None:
            return body
    return None


def _parsed(text: str | bytes) -> object:
    if len(text) > _LONGEST_BODY:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return None  # an error's text need not be JSON


def _with_units(reading: Reading, units: Mapping[str, int]) -> Reading:
    """Add what was counted from the answer's blocks, where the provider said no number itself."""
    usage = reading.usage
    if usage is None:
        return reading
    said = usage.other_units or {}
    if said.keys() >= units.keys():
        return reading
    flags = tuple(sorted({*reading.flags, "counted_from_content"}))
    return replace(reading, usage=replace(usage, other_units={**units, **said}), flags=flags)


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if type(value) is dict or isinstance(value, Mapping) else None


def _first_text(keys: tuple[str, ...], *sources: Mapping[str, Any]) -> str | None:
    for source in sources:
        for key in keys:
            value = source.get(key)
            if isinstance(value, str) and value:
                return undoubled(value)
    return None


def _tool_names(message: Any) -> tuple[str, ...]:
    kinds = (getattr(message, "tool_calls", None), getattr(message, "invalid_tool_calls", None))
    if not (kinds[0] or kinds[1]):
        return ()
    requested = [call for calls in kinds if isinstance(calls, (list, tuple)) for call in calls]
    names = (call.get("name") if isinstance(call, Mapping) else getattr(call, "name", None) for call in requested)
    return tuple(str(name) for name in names if name)


def _response_id(message_id: Any, response_metadata: Mapping[str, Any]) -> str | None:
    if not isinstance(message_id, str) or not message_id.startswith(_OWN_ID):
        return None
    return _first_text(("id",), response_metadata)


def _is_from_cache(usage_metadata: Mapping[str, Any] | None, message_id: Any, run_id: str) -> bool:
    """LangChain's cache marks a hit with a total cost of 0; a fresh message names its own run all the same when the
    cache shares the object, so both must agree. What a message with a provider's id lacks for that is told by `hits`.
    """
    if usage_metadata is None or usage_metadata.get("total_cost") != 0:
        return False
    return not (isinstance(message_id, str) and message_id.startswith(f"lc_run--{run_id}"))
