"""Whose calls make up the history? An application's chains and agents, its models, and how often each is called."""

from __future__ import annotations

from typing import NamedTuple

__all__ = (
    "ATTEMPTS",
    "ATTEMPT_WEIGHTS",
    "CHAINS",
    "HOUR_WEIGHTS",
    "MODELS",
    "MODES",
    "MODE_WEIGHTS",
    "STATUSES",
    "STATUS_WEIGHTS",
    "Chain",
    "Model",
)


class Chain(NamedTuple):
    """A named step: how often it calls, and where it stands."""

    weight: int
    chain: str | None
    agent: str | None
    path: str | None
    node: str | None


CHAINS = (
    Chain(18, "plan_question", "supervisor", "assistant/supervisor/plan_question", "supervisor"),
    Chain(16, "write_sql", "sql_agent", "assistant/sql_agent/write_sql", "sql_agent"),
    Chain(11, "check_sql", "sql_agent", "assistant/sql_agent/check_sql", "sql_agent"),
    Chain(7, "fix_sql", "sql_agent", "assistant/sql_agent/fix_sql", "sql_agent"),
    Chain(10, "search_documents", "retriever", "assistant/retriever/search_documents", "retriever"),
    Chain(8, "grade_documents", "retriever", "assistant/retriever/grade_documents", "retriever"),
    Chain(8, "draft_answer", "writer", "assistant/writer/draft_answer", "writer"),
    Chain(6, "review_answer", "critic", "assistant/critic/review_answer", "critic"),
    Chain(5, "final_answer", "writer", "assistant/writer/final_answer", "writer"),
    Chain(4, "make_chart", "analyst", "assistant/analyst/make_chart", "analyst"),
    Chain(3, "explain_numbers", "analyst", "assistant/analyst/explain_numbers", "analyst"),
    Chain(2, "summarize_history", None, "assistant/summarize_history", None),
    Chain(1, "fix_sql", "analyst", "assistant/analyst/fix_sql", "analyst"),
    Chain(1, None, None, None, None),
)


class Model(NamedTuple):
    """A model: how often it is called, what it costs, and how its provider tells usage."""

    weight: int
    model: str
    requested: str
    provider: str
    input_price: int
    """Pico-USD a token, which is USD a million tokens in millionths."""
    output_price: int
    usage: str
    """The provider's own words, with places for input, output, total, cached and reasoning tokens, input that was not
    cached and output that is no reasoning.
    """
    prices: str


def _rates(given: str, answered: str, cached: str) -> str:
    return f'{{"input":"{given}","output":"{answered}","cache_read":"{cached}"}}'


_OPENAI = (
    '{{"prompt_tokens":{0},"completion_tokens":{1},"total_tokens":{2},"prompt_tokens_details":{{"cached_tokens":{3}}},'
    '"completion_tokens_details":{{"reasoning_tokens":{4}}}}}'
)
_ANTHROPIC = '{{"input_tokens":{5},"output_tokens":{1},"cache_read_input_tokens":{3},"service_tier":"standard"}}'
_GOOGLE = (
    '{{"prompt_token_count":{0},"candidates_token_count":{6},"total_token_count":{2},'
    '"cached_content_token_count":{3},"thoughts_token_count":{4}}}'
)
MODELS = (
    Model(
        34, "gpt-4o-mini-2024-07-18", "gpt-4o-mini", "openai", 150_000, 600_000, _OPENAI, _rates("0.15", "0.6", "0.075")
    ),
    Model(22, "gpt-4.1-2025-04-14", "gpt-4.1", "openai", 2_000_000, 8_000_000, _OPENAI, _rates("2", "8", "0.5")),
    Model(
        18,
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5",
        "anthropic",
        3_000_000,
        15_000_000,
        _ANTHROPIC,
        _rates("3", "15", "0.3"),
    ),
    Model(
        12,
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5",
        "anthropic",
        1_000_000,
        5_000_000,
        _ANTHROPIC,
        _rates("1", "5", "0.1"),
    ),
    Model(
        9, "gemini-2.5-flash", "gemini-2.5-flash", "google", 300_000, 2_500_000, _GOOGLE, _rates("0.3", "2.5", "0.03")
    ),
    Model(
        5, "gemini-2.5-pro", "gemini-2.5-pro", "google", 1_250_000, 10_000_000, _GOOGLE, _rates("1.25", "10", "0.125")
    ),
)
MODES = ("interactive", "batch", "evaluation")
MODE_WEIGHTS = (78, 17, 5)
HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 17, 14, 17, 19, 18, 16, 12, 8, 6, 5, 4, 3, 2)
ATTEMPTS = (1, 2, 3, 4, 5, 6, 7, 8)
ATTEMPT_WEIGHTS = (9_000, 700, 180, 70, 28, 12, 7, 3)
STATUSES = ("ok", "error", "cached", "cancelled")
STATUS_WEIGHTS = (960, 22, 12, 6)
