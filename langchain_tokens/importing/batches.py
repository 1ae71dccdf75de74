"""What does the result file of a provider's batch say? One line for each request, with the provider's own response.

Documented by OpenAI ("Batch API", the request output object) and Anthropic ("Message Batches", retrieving results).
Prompts are not in them; answers are read over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_tokens.call import CallStatus
from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.results import status_of, usage_read
from langchain_tokens.importing.values import as_json, as_moment, as_text

__all__ = ("anthropic_results", "openai_results")

_HTTP_OK = 200
_TIER = "batch"
"""What is billed at a batch's price."""


def openai_results(values: Mapping[str, Any]) -> Iterator[Draft]:
    """`{"id", "custom_id", "response": {"status_code", "body"}, "error"}`; such calls are billed as a batch's."""
    response = _mapping(values.get("response"))
    body, error = _mapping(response.get("body")), _error(values.get("error"))
    if error is None and response.get("status_code") not in (None, _HTTP_OK):
        error = _error(body.get("error")) or f"status code {response.get('status_code')}"
    yield Draft(
        key=as_text(values.get("id"), "id"),
        provider="openai",
        started_at=as_moment(body.get("created") or body.get("created_at"), "created"),
        status="ok" if error is None else "error",
        error=error,
        **_answer(values, body),
    )


def anthropic_results(values: Mapping[str, Any]) -> Iterator[Draft]:
    """`{"custom_id", "result": {"type", "message" | "error"}}`."""
    result = _mapping(values.get("result"))
    message, error = _mapping(result.get("message")), _mapping(result.get("error"))
    status: CallStatus = status_of(result.get("type"), None)
    yield Draft(
        key=None,
        provider="anthropic",
        status=status,
        error=_error(error.get("error") or error or None),
        **_answer(values, message),
    )


def _answer(values: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    custom, payload = as_text(values.get("custom_id"), "custom_id"), as_json(body.get("usage"), "usage")
    found = usage_read({"usage": payload}) if payload else None
    return {
        "usage": None if found is None or found.usage is None else replace(found.usage, service_tier=_TIER),
        "usage_flags": () if found is None else found.flags,
        "raw_usage": None if found is None else found.raw,
        "model": as_text(body.get("model"), "model"),
        "message_id": as_text(body.get("id"), "id of the response"),
        "run_name": custom,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _error(value: Any) -> str | None:
    if value is None:
        return None
    return (
        str(value.get("message") or value.get("code") or value.get("type"))
        if isinstance(value, Mapping)
        else str(value)
    )
