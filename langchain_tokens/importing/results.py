"""What does a result that arrived as data say? The rows of a metrics store or a poller, with whatever names they use.

Prompts and responses tell one result from another, and are not stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from langchain_tokens.call import CallStatus
from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.values import (
    as_count,
    as_counts,
    as_json,
    as_moment,
    as_money,
    as_number,
    as_text,
    shown,
)
from langchain_tokens.plain import detached
from langchain_tokens.shapes import read
from langchain_tokens.usage import TokenUsage

__all__ = ("RESULT_COLUMNS", "results_of", "status_of", "usage_read")

RESULT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "result_id", "request_id"),
    "call_id": ("call_id",),
    "message_id": ("message_id", "response_id", "completion_id"),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "total_tokens": ("total_tokens",),
    "cache_read_tokens": ("cache_read_tokens", "cached_tokens"),
    "cache_write_tokens": ("cache_write_tokens",),
    "reasoning_tokens": ("reasoning_tokens",),
    "usage": ("usage",),
    "time_taken_seconds": ("time_taken_seconds", "latency_seconds", "duration_seconds"),
    "duration_ms": ("duration_ms", "latency_ms"),
    "started_at": ("started_at", "timestamp", "created_at", "time", "date"),
    "ended_at": ("ended_at", "completed_at", "finished_at"),
    "status": ("status",),
    "error_message": ("error_message", "error"),
    "model": ("model", "model_name"),
    "provider": ("provider", "provider_name"),
    "document": ("document", "document_id", "document_name"),
    "batch": ("batch", "batch_id"),
    "run": ("run", "run_id"),
    "session": ("session", "session_id"),
    "chain": ("chain", "chain_name", "step_name"),
    "agent": ("agent", "agent_name"),
    "user": ("user", "user_id"),
    "mode": ("mode",),
    "attempt": ("attempt",),
    "cost_usd": ("cost_usd", "cost"),
    "finish_reason": ("finish_reason",),
    "prompt": ("prompt",),
    "response": ("response",),
}
"""What is known → the columns that may say it, the first that is there."""
_NESTED: Final = ("results", "responses")
"""Columns of a document's row that hold its results."""
_STATUSES: Final[Mapping[str, CallStatus]] = {
    **dict.fromkeys(("ok", "success", "succeeded", "successful", "completed", "complete", "done", "true", "200"), "ok"),
    **dict.fromkeys(("error", "errored", "failed", "failure", "fail", "expired", "timeout", "false"), "error"),
    **dict.fromkeys(("cancelled", "canceled", "aborted"), "cancelled"),
    "cached": "cached",
}
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_MOST_ATTEMPTS: Final = 2**31 - 1


def results_of(values: Mapping[str, Any]) -> Iterator[Draft]:
    """The calls in a row: one, or those in a document's list of results.

    Raises:
        ValueError, TokensError: for a value that cannot be.

    """
    nested = next((name for name in _NESTED if isinstance(values.get(name), list)), None)
    if nested is None:
        yield _result_of(values)
        return
    said = {name: value for name, value in values.items() if name != nested}
    for item in values[nested]:
        if not isinstance(item, Mapping):
            raise ValueError(f"{nested} has {shown(item)}; expected objects")  # noqa: TRY004  # data, not a programmer's mistake
        yield _result_of({**said, **item})


def status_of(value: Any, error: str | None) -> CallStatus:
    """A status, in whatever words; without one, an error says it.

    Raises:
        ValueError: for one that is not known, or of what has not ended.

    """
    said = as_text(str(value).lower() if isinstance(value, bool) else value, "status")
    if said is None:
        return "ok" if error is None else "error"
    found = _STATUSES.get(said.strip().lower())
    if found is None:
        raise ValueError(f"status is {shown(said)}; expected an end, such as success, error, cancelled or cached")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRead:
    """What a provider's own usage says."""

    usage: TokenUsage | None
    flags: tuple[str, ...]
    raw: Mapping[str, Any] | None
    cost_usd: Decimal | None


def usage_read(payload: Any) -> UsageRead:
    """A provider's usage, read as that of a recorded call."""
    reading = read(payload)
    return UsageRead(usage=reading.usage, flags=reading.flags, raw=reading.raw, cost_usd=reading.reported_cost_usd)


def _result_of(values: Mapping[str, Any]) -> Draft:
    said = {name: _first(values, columns) for name, columns in RESULT_COLUMNS.items()}
    texts = {name: as_text(said[name], name) for name in _TEXTS}
    names: dict[str, Any] = {name: texts[name] for name in _NAMES}
    error = texts["error_message"] if isinstance(said["error_message"], str) else _error(said["error_message"])
    duration = _duration(said)
    return Draft(
        key=texts["id"],
        call_id=texts["call_id"],
        run=_run(texts),
        run_name=texts["document"],
        started_at=_started(said, duration),
        duration_ms=duration,
        status=status_of(said["status"], error),
        error=error,
        cost_usd=as_money(said["cost_usd"], "cost_usd"),
        attempt=as_count(said["attempt"], "attempt", _MOST_ATTEMPTS) or 1,
        tags={} if texts["batch"] is None else {"batch": texts["batch"]},
        content=_content(said),
        **names,
        **_counts(said),
    )


_NAMES: Final = ("model", "provider", "chain", "agent", "session", "user", "mode", "finish_reason", "message_id")
_TEXTS: Final = (*_NAMES, "id", "call_id", "document", "batch", "run", "error_message")


def _run(texts: Mapping[str, str | None]) -> str | None:
    """A document's results in one batch are a run; without documents a batch is."""
    if texts["run"] is not None:
        return texts["run"]
    parts = [texts["batch"], texts["document"]]
    return json.dumps(parts) if any(parts) else None


def _counts(said: Mapping[str, Any]) -> dict[str, Any]:
    counts = as_counts(said, {name: name for name in _COUNTS})
    payload = as_json(said["usage"], "usage")
    if payload is None or any(count is not None for count in counts.values()):
        return {"usage": TokenUsage(**counts)}
    found = usage_read(detached(payload)) if isinstance(payload, Mapping) else None
    if found is None or found.usage is None:
        raise ValueError(f"usage is {shown(payload)}; expected a provider's usage")
    return {"usage": found.usage, "usage_flags": found.flags, "raw_usage": found.raw}


def _duration(said: Mapping[str, Any]) -> float | None:
    seconds = as_number(said["time_taken_seconds"], "time_taken_seconds", 10**9)
    return as_number(said["duration_ms"], "duration_ms") if seconds is None else seconds * 1000


def _started(said: Mapping[str, Any], duration_ms: float | None) -> datetime | None:
    started, ended = as_moment(said["started_at"], "started_at"), as_moment(said["ended_at"], "ended_at")
    if started is not None or ended is None:
        return started
    return ended - timedelta(milliseconds=duration_ms or 0)


def _error(value: Any) -> str | None:
    """An error's text, where it is an object as providers send it."""
    if isinstance(value, Mapping):
        return str(value.get("message") or value.get("type") or "") or None
    return as_text(value, "error_message")


def _content(said: Mapping[str, Any]) -> str | None:
    texts = [said["prompt"], said["response"]]
    return json.dumps(texts, default=str, sort_keys=True) if any(texts) else None


def _first(values: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    return next((values[name] for name in columns if values.get(name) is not None), None)
