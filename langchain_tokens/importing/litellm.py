"""What does LiteLLM's proxy say of a request? A row of its table `LiteLLM_SpendLogs`, or of `/spend/logs`.

Documented in the schema of the proxy's database (`schema.prisma` of BerriAI/litellm: `request_id` is the provider's
response id, else LiteLLM's own; times are UTC; counts and `spend`, US dollars, are 0 by default). The columns
`messages`, `response` and `proxy_server_request` may hold content, and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.results import status_of, usage_read
from langchain_tokens.importing.values import as_counts, as_json, as_moment, as_money, as_text
from langchain_tokens.usage import TokenUsage

__all__ = ("spend_log",)

_COUNTS = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens", "total_tokens": "total_tokens"}


def spend_log(values: Mapping[str, Any]) -> Iterator[Draft]:
    """The call of a row.

    Raises:
        ValueError, TokensError: for a value that cannot be.

    """
    texts = {name: as_text(values.get(name), name) for name in _TEXTS}
    metadata = as_json(values.get("metadata"), "metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    status = status_of(texts["status"] or metadata.get("status"), None)
    is_cached = (texts["cache_hit"] or "").lower() == "true"
    started, ended = as_moment(values.get("startTime"), "startTime"), as_moment(values.get("endTime"), "endTime")
    duration = _milliseconds(started, ended)
    provider, model = texts["custom_llm_provider"], texts["model"]
    yield Draft(
        key=texts["request_id"],
        message_id=texts["request_id"],
        started_at=started,
        duration_ms=duration,
        time_to_first_token_ms=_first_token(values, started, duration),
        model=model.removeprefix(f"{provider}/") if model and provider else model,
        requested_model=texts["model_group"] or model,
        provider=provider,
        session=texts["session_id"],
        user=texts["end_user"] or texts["user"],
        tags=_tags(values, texts),
        status="cached" if is_cached and status == "ok" else status,
        error=_error(metadata),
        cost_usd=as_money(values.get("spend"), "spend"),
        **_usage(values, metadata, is_failed=status == "error"),
    )


_TEXTS = (
    "request_id",
    "model",
    "model_group",
    "custom_llm_provider",
    "session_id",
    "end_user",
    "user",
    "status",
    "cache_hit",
    "team_id",
    "call_type",
)


def _usage(values: Mapping[str, Any], metadata: Mapping[str, Any], *, is_failed: bool) -> dict[str, Any]:
    """The provider's own usage, where LiteLLM kept it; else the counts, of which 0 for a failed request is none."""
    payload = metadata.get("usage_object")
    found = usage_read(payload) if isinstance(payload, dict) and payload else None
    if found is not None and found.usage is not None:
        return {"usage": found.usage, "usage_flags": found.flags, "raw_usage": found.raw}
    counts = as_counts(values, _COUNTS)
    is_default = is_failed and not any(counts.values())
    return {"usage": None if is_default else TokenUsage(**counts)}


def _tags(values: Mapping[str, Any], texts: Mapping[str, str | None]) -> dict[str, str]:
    tags = {name: texts[column] for name, column in (("team", "team_id"), ("call_type", "call_type"))}
    requested = as_json(values.get("request_tags"), "request_tags")
    if isinstance(requested, list) and requested:
        tags["request_tags"] = ", ".join(map(str, requested))
    return {name: value for name, value in tags.items() if value}


def _error(metadata: Mapping[str, Any]) -> str | None:
    told = metadata.get("error_information")
    return as_text(told.get("error_message"), "error_message") if isinstance(told, dict) else None


def _first_token(values: Mapping[str, Any], started: Any, duration_ms: float | None) -> float | None:
    """Where the answer was not streamed, LiteLLM puts its beginning at its end."""
    first = _milliseconds(started, as_moment(values.get("completionStartTime"), "completionStartTime"))
    return first if first is not None and duration_ms is not None and first < duration_ms else None


def _milliseconds(started: Any, ended: Any) -> float | None:
    if started is None or ended is None or ended < started:
        return None
    return float((ended - started).total_seconds() * 1000)
