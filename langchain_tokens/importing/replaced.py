"""What do tables say in which applications kept their tokens by hand? Rows of `token_usage` and `llm_token_logs`.

`token_usage`: a row for each call, with mode, model, agent and cost. `llm_token_logs`: a row for each question, with
the tokens of three chains, and those of all retries together; its cost is the whole row's, so its calls have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.values import as_count, as_counts, as_json, as_moment, as_money, as_number, as_text
from langchain_tokens.usage import TokenUsage

__all__ = ("question_log", "token_usage")

_CHAINS: Final = {
    "intent": "intent_classification",
    "table_selection": "table_selection",
    "sql_generation": "sql_generation",
}
"""How the table's columns begin → the chain."""
_RETRIED: Final = "sql_fix"
_SEVERAL: Final = "sum_of_retries"


def token_usage(values: Mapping[str, Any]) -> Iterator[Draft]:
    """The call of a row of `token_usage`; those with one `message_id` are one turn of a conversation.

    Raises:
        ValueError, TokensError: for a value that cannot be.

    """
    texts = {
        name: as_text(values.get(name), name)
        for name in ("id", "session_id", "message_id", "chat_mode", "model_name", "agent_name")
    }
    tools = as_json(values.get("tool_calls"), "tool_calls")
    yield Draft(
        run=None if texts["message_id"] is None else f"{texts['session_id']}/{texts['message_id']}",
        started_at=as_moment(values.get("timestamp"), "timestamp"),
        duration_ms=as_number(values.get("duration_ms"), "duration_ms"),
        model=texts["model_name"],
        requested_model=texts["model_name"],
        agent=texts["agent_name"],
        mode=texts["chat_mode"],
        session=texts["session_id"],
        tool_calls=tuple(map(str, tools)) if isinstance(tools, list) else (),
        cost_usd=as_money(values.get("cost_usd"), "cost_usd"),
        usage=TokenUsage(**as_counts(values, _COUNTS)),
        content=texts["id"],
    )


def question_log(values: Mapping[str, Any]) -> Iterator[Draft]:
    """The calls of a row of `llm_token_logs`: one for each chain that used tokens, and one for all retries together."""
    session, intent = as_text(values.get("session_id"), "session_id"), as_text(values.get("intent"), "intent")
    row = as_text(values.get("id"), "id")
    shared: dict[str, Any] = {
        "run": f"{session}/{values.get('timestamp')}/{row or values.get('question')}",
        "started_at": as_moment(values.get("timestamp"), "timestamp"),
        "session": session,
        "tags": {} if intent is None else {"intent": intent},
        "content": row,
    }
    for begin, chain in _CHAINS.items():
        counts = as_counts(values, {ours: f"{begin}_{theirs}_tokens" for ours, theirs in _PARTS.items()})
        if any(counts.values()):
            yield Draft(chain=chain, usage=TokenUsage(**counts), **shared)
    retries = as_count(values.get("retry_count"), "retry_count") or 0
    retried = as_count(values.get("retry_total_tokens"), "retry_total_tokens")
    if retries or retried:
        flags = (_SEVERAL,) if retries > 1 else ()
        yield Draft(chain=_RETRIED, usage=TokenUsage(total_tokens=retried), usage_flags=flags, **shared)


_COUNTS: Final = {name: name for name in ("input_tokens", "output_tokens", "total_tokens")}
_PARTS: Final = {"input_tokens": "prompt", "output_tokens": "completion", "total_tokens": "total"}
"""What is counted → how the table's columns say it."""
