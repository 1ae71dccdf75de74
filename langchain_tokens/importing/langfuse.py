"""What does Langfuse say of a generation? A row of its exports: blob storage, user interface or API.

Documented under "Blob storage export field reference" (`observations_v2/` and `observations/`, names with underscores)
and in the API reference of observations (names in camel case). Usage types whose name contains `input` are input,
`output` output, and all are the total ("Token and cost tracking"): a detail is beside its side's rest, not in it.
`input`, `output` and `metadata` may hold content; of them only the provider's name in `metadata` is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.values import as_count, as_json, as_moment, as_money, as_number, as_text
from langchain_tokens.usage import TokenUsage

__all__ = ("observation",)

_CALLS = frozenset({"GENERATION", "EMBEDDING"})
"""Types of observations that are calls to a model; the others hold no usage of their own."""
_DETAILS = {
    "cache_read_tokens": ("input_cache_read", "input_cached_tokens", "cache_read_input_tokens", "input_cached"),
    "cache_write_tokens": ("input_cache_creation", "cache_creation_input_tokens", "input_cache_write"),
    "reasoning_tokens": ("output_reasoning", "output_reasoning_tokens", "reasoning_tokens"),
    "audio_input_tokens": ("input_audio", "input_audio_tokens"),
    "audio_output_tokens": ("output_audio", "output_audio_tokens"),
}
_TOTAL = "total"


def observation(values: Mapping[str, Any]) -> Iterator[Draft]:
    """The call of a row; none of an observation that is no call.

    Raises:
        ValueError, TokensError: for a value that cannot be.

    """
    kind = as_text(values.get("type"), "type")
    if kind is None or kind.upper() not in _CALLS:
        return
    said = {name: as_text(_first(values, columns), name) for name, columns in _TEXTS.items()}
    started = as_moment(_first(values, ("start_time", "startTime")), "start_time")
    ended = as_moment(_first(values, ("end_time", "endTime")), "end_time")
    first = as_number(_first(values, ("time_to_first_token", "timeToFirstToken")), "time_to_first_token")
    is_failed = (said["level"] or "").upper() == "ERROR"
    yield Draft(
        call_id=said["id"],
        run_id=said["trace_id"],
        run_name=said["trace_name"],
        started_at=started,
        duration_ms=_duration(values, started, ended),
        time_to_first_token_ms=None if first is None else first * 1000,
        streamed=True if first is not None else None,
        chain=said["name"],
        model=said["model"],
        requested_model=said["model"],
        provider=_provider(values),
        session=said["session"],
        user=said["user"],
        tags={"environment": said["environment"]} if said["environment"] else {},
        status="error" if is_failed else "ok",
        error=said["status_message"] if is_failed else None,
        tool_calls=_tool_calls(values),
        cost_usd=_cost(values),
        **_usage(as_json(_first(values, ("usage_details", "usageDetails", "usage")), "usage_details")),
    )


_TEXTS = {
    "id": ("id",),
    "trace_id": ("trace_id", "traceId"),
    "trace_name": ("trace_name", "traceName"),
    "name": ("name",),
    "model": ("provided_model_name", "providedModelName", "model"),
    "session": ("session_id", "sessionId"),
    "user": ("user_id", "userId"),
    "environment": ("environment",),
    "level": ("level",),
    "status_message": ("status_message", "statusMessage"),
}


def _usage(details: Any) -> dict[str, Any]:
    """Inclusive counts. A total that is neither that of all types nor of the two sides alone is kept and flagged."""
    if not isinstance(details, dict):
        return {}
    counts = {str(name): as_count(value, f"usage_details.{name}") for name, value in details.items() if name != "unit"}
    known = {name: count for name, count in counts.items() if count is not None and name != _TOTAL}
    total, sides = counts.get(_TOTAL), _sides(known)
    plain = {side: known.get(side) for side in ("input", "output")}
    is_inside = None not in plain.values() and total == sum(filter(None, plain.values())) != sum(known.values())
    if is_inside:  # such as from an application that said its details in both places
        sides = plain
    found: dict[str, Any] = {
        name: next((known[key] for key in keys if key in known), None) for name, keys in _DETAILS.items()
    }
    usage = TokenUsage(input_tokens=sides["input"], output_tokens=sides["output"], total_tokens=total, **found)
    is_odd = total is not None and None not in sides.values() and total != sum(filter(None, sides.values()))
    return {
        "usage": usage,
        "usage_flags": ("total_mismatch",) if is_odd else (),
        "raw_usage": {"usage_details": counts},
    }


def _sides(known: Mapping[str, int]) -> dict[str, int | None]:
    parts = {
        "input": [count for name, count in known.items() if "input" in name],
        "output": [count for name, count in known.items() if "output" in name or name == "reasoning_tokens"],
    }
    return {side: sum(counts) if counts else None for side, counts in parts.items()}


def _cost(values: Mapping[str, Any]) -> Decimal | None:
    """The cost, where Langfuse knows one: its total is 0 for models that it has no price of."""
    details = as_json(_first(values, ("cost_details", "costDetails")), "cost_details")
    total = as_money(
        _first(values, ("total_cost", "totalCost", "calculatedTotalCost", "calculated_total_cost")), "total_cost"
    )
    if total is None and isinstance(details, dict):
        total = as_money(details.get(_TOTAL), "cost_details.total")
    return total


def _duration(values: Mapping[str, Any], started: Any, ended: Any) -> float | None:
    if started is not None and ended is not None and ended >= started:
        return float((ended - started).total_seconds() * 1000)
    seconds = as_number(values.get("latency"), "latency")
    return None if seconds is None else seconds * 1000


def _provider(values: Mapping[str, Any]) -> str | None:
    """Langfuse keeps no provider; LangChain's metadata names it."""
    metadata = values.get("metadata")
    metadata = as_json(metadata, "metadata") if isinstance(metadata, dict) or str(metadata).startswith("{") else {}
    return as_text(metadata.get("ls_provider"), "ls_provider") if isinstance(metadata, dict) else None


def _tool_calls(values: Mapping[str, Any]) -> tuple[str, ...]:
    names = as_json(_first(values, ("tool_call_names", "toolCallNames")), "tool_call_names")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _first(values: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    return next((values[name] for name in columns if values.get(name) is not None), None)
