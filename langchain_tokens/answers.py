"""What does the model's answer say? Plain values copied out of LangChain's result while the event is handled.

The result object is shared: LangChain's cache and agents change it later, so nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_tokens.counting import UNREADABLE
from langchain_tokens.shapes import Reading, read_answer

__all__ = ("UNREAD", "Answer", "read_result")

_MODEL_KEYS = ("model_name", "model", "model_id")
_FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one result says, beside its content."""

    reading: Reading
    model: str | None
    finish_reason: str | None
    tool_calls: tuple[str, ...]
    message_id: str | None
    is_from_cache: bool
    is_counted_elsewhere: bool
    """LangChain gives the usage of a text model's whole batch to its first prompt, and nothing to the others."""


UNREAD = Answer(
    reading=UNREADABLE,
    model=None,
    finish_reason=None,
    tool_calls=(),
    message_id=None,
    is_from_cache=False,
    is_counted_elsewhere=False,
)
"""Of an answer that could not be read."""


def read_result(result: Any, run_id: str) -> Answer:
    """Read the result of a call.

    With several generations each carries the whole call's usage, so only the first that has one counts.

    Args:
        result: LangChain's `LLMResult`, complete or what had arrived before an error.
        run_id: the call's own run, which fresh messages name in their id.

    """
    candidates = [generation for group in getattr(result, "generations", None) or () for generation in group or ()]
    first = next(
        (item for item in candidates if getattr(getattr(item, "message", None), "usage_metadata", None)),
        candidates[0] if candidates else None,
    )
    message = getattr(first, "message", None)
    usage_metadata = _mapping(getattr(message, "usage_metadata", None))
    response_metadata = _mapping(getattr(message, "response_metadata", None)) or {}
    llm_output = _mapping(getattr(result, "llm_output", None)) or {}
    generation_info = _mapping(getattr(first, "generation_info", None)) or {}
    reading = read_answer(
        usage_metadata=usage_metadata,
        response_metadata=response_metadata,
        llm_output=llm_output,
        generation_info=generation_info,
    )
    message_id = getattr(message, "id", None)
    return Answer(
        reading=reading,
        model=_undoubled(_first_text(_MODEL_KEYS, response_metadata, llm_output)),
        finish_reason=_undoubled(_first_text(_FINISH_KEYS, response_metadata, generation_info)),
        tool_calls=_tool_names(message),
        message_id=message_id if isinstance(message_id, str) else None,
        is_from_cache=_is_from_cache(usage_metadata, message_id, run_id),
        is_counted_elsewhere=message is None and llm_output.get("token_usage") == {},
    )


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _first_text(keys: tuple[str, ...], *sources: Mapping[str, Any]) -> str | None:
    for source in sources:
        for key in keys:
            value = source.get(key)
            if isinstance(value, str) and value:
                return value
    return None


def _undoubled(text: str | None) -> str | None:
    """Merged stream chunks concatenate text: a name that two chunks said stands there twice, end to end."""
    if text is None:
        return None
    for parts in (2, 3):
        size, rest = divmod(len(text), parts)
        if size > 1 and rest == 0 and text == text[:size] * parts:
            return text[:size]
    return text


def _tool_names(message: Any) -> tuple[str, ...]:
    kinds = (getattr(message, "tool_calls", None), getattr(message, "invalid_tool_calls", None))
    requested = [call for calls in kinds if isinstance(calls, (list, tuple)) for call in calls]
    names = (call.get("name") if isinstance(call, Mapping) else getattr(call, "name", None) for call in requested)
    return tuple(str(name) for name in names if name)


def _is_from_cache(usage_metadata: Mapping[str, Any] | None, message_id: Any, run_id: str) -> bool:
    """LangChain's cache marks a hit with a total cost of 0; a fresh message names its own run all the same when the
    cache shares the object, so both must agree.
    """
    if usage_metadata is None or usage_metadata.get("total_cost") != 0:
        return False
    return not (isinstance(message_id, str) and message_id.startswith(f"lc_run--{run_id}"))
