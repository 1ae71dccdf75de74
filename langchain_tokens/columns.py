"""What does a file of calls say of each? Its columns, the same in every kind of file, and a call's values in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

import orjson

from langchain_tokens.call import Call, RunFact, plain
from langchain_tokens.usage import TokenUsage

__all__ = (
    "COLUMNS",
    "FILE_VERSION",
    "RUN_COLUMNS",
    "USAGE_COLUMNS",
    "call_record",
    "json_text",
    "run_record",
    "value_of",
)

FILE_VERSION: Final = 1
"""Of the columns and their meaning; rises when one changes its meaning or goes."""
_TEXT = (
    "call_id run_id parent_run_id session chain agent path node mode model requested_model provider user message_id "
    "status error_type error_message attempt_error retry_kind finish_reason usage_source price_status price_source "
    "price_version priced_provider priced_model service_tier prompt_mark"
)
_COUNT = (
    "step attempt revision input_tokens output_tokens total_tokens cache_read_tokens cache_write_tokens "
    "cache_write_5m_tokens cache_write_1h_tokens reasoning_tokens audio_input_tokens audio_output_tokens"
)
_MONEY = "cost_usd input_cost_usd output_cost_usd other_cost_usd saved_cost_usd computed_cost_usd"
_JSON = (
    "tags tool_calls other_units raw_usage saved_usage estimate_basis usage_flags unit_prices price_context "
    "price_flags input_parts"
)
COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_TEXT.split(), "text"),
    **dict.fromkeys(("started_at", "ended_at"), "moment"),
    **dict.fromkeys(("duration_ms", "time_to_first_token_ms", "tokens_per_second"), "number"),
    **dict.fromkeys(_COUNT.split(), "count"),
    **dict.fromkeys(_MONEY.split(), "money"),
    **dict.fromkeys(("streamed", "superseded"), "truth"),
    **dict.fromkeys(_JSON.split(), "json"),
}
"""Column → kind. The names are those of `Call` and `TokenUsage`, in the order of the file; unknown is null."""
RUN_COLUMNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("run_id", "name", "session", "mode", "user", "status", "error_type", "error_message"), "text"),
    **dict.fromkeys(("started_at", "ended_at"), "moment"),
    "tags": "json",
}
"""The same of a run; the names are those of `RunFact`."""
USAGE_COLUMNS: Final = frozenset(item.name for item in dataclasses.fields(TokenUsage))
_NULL_IF_EMPTY = ("tags", "tool_calls", "usage_flags", "price_flags")
_UNKNOWN = TokenUsage()


def value_of(call: Call, name: str) -> Any:
    """What a call has in a column."""
    value = getattr(call.usage or _UNKNOWN if name in USAGE_COLUMNS else call, name)
    return value or None if name in _NULL_IF_EMPTY else value


def call_record(call: Call) -> dict[str, Any]:
    """A call as JSON has it: times as ISO 8601 in UTC, money as text, unknown as null."""
    return {name: _plain(value_of(call, name), kind) for name, kind in COLUMNS.items()}


def run_record(fact: RunFact) -> dict[str, Any]:
    """A run as JSON has it."""
    return {name: _plain(getattr(fact, name) or None, kind) for name, kind in RUN_COLUMNS.items()}


def json_text(value: object) -> str:
    """A value as JSON on one line."""
    try:
        return orjson.dumps(value, default=_stand_in).decode()
    except TypeError:  # text with half a surrogate pair, numbers beyond 64 bits
        return json.dumps(value, default=_stand_in)


def _plain(value: Any, kind: str) -> Any:
    if value is None or kind not in ("moment", "money"):
        return value
    return plain(value.astimezone(UTC) if kind == "moment" else value)


def _stand_in(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value) if isinstance(value, TokenUsage) else dict(value)
