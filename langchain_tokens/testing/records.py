"""What is a call like that a test needs? Calls and usages with sensible values for all that is not said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from langchain_tokens.call import Call
from langchain_tokens.usage import TokenUsage

__all__ = ("STARTED", "make_call", "make_usage")

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When made calls start."""


def make_usage(input_tokens: int | None = 100, output_tokens: int | None = 20, **more: Any) -> TokenUsage:
    """Make a usage whose total is the sum of both, where both are known, unless `more` says otherwise."""
    known = None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
    return TokenUsage(
        **{"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": known, **more},
    )


def make_call(
    *, tokens: tuple[int | None, int | None] | None = (100, 20), cost: str | Decimal | None = None, **more: Any
) -> Call:
    """Make a call, with an id of its own.

    Args:
        tokens: input and output tokens; None is a call whose usage nobody said.
        cost: USD, as text or Decimal; None is a call without a price.
        more: any other field of `Call`, such as `chain="sql_fix"` or `status="error"`.

    """
    usage = None if tokens is None else make_usage(*tokens)
    values: dict[str, Any] = {
        "call_id": str(uuid4()),
        "run_id": "run-1",
        "started_at": STARTED,
        "usage": usage,
        "usage_source": "missing" if more.get("usage", usage) is None else "provider",
        "cost_usd": None if cost is None else Decimal(cost),
        "price_status": "unpriced" if cost is None else "priced",
    }
    return Call(**{**values, **more})
