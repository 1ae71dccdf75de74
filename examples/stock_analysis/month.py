"""What does a month of analyses look like? One that is made up, the same every time: it grows, and one day goes wrong.

On `BAD_DAY` a mistake sends the whole price history to `indicator_summary` in place of six lines.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from examples.stock_analysis.graph import CHAINS
from langchain_tokens import TokenUsageHandler

__all__ = ("BAD_DAY", "END", "START", "PastCall", "make_month", "record_month")

START = datetime(2025, 10, 1, tzinfo=UTC)
END = datetime(2025, 11, 1, tzinfo=UTC)
BAD_DAY = datetime(2025, 10, 22, tzinfo=UTC)
MODEL, PROVIDER = "gpt-4o", "openai"
SATURDAY = 5
_TOKENS = {
    "indicator_summary": (110, 48),
    "comprehensive_overview": (812, 38),
    "volume_analysis": (808, 36),
    "reversal_patterns": (808, 37),
    "continuation_levels": (811, 36),
    "final_decision": (330, 30),
}
"""Chain → tokens that it usually takes and gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """One call of the month, as the application's log would have it."""

    run_id: UUID
    chain: str
    started_at: datetime
    duration_ms: float
    usage: dict[str, int] | None
    """None where the call failed."""


def make_month() -> Sequence[PastCall]:
    """Return the month's calls, oldest first."""
    dice = random.Random(10)  # noqa: S311 - a sample month, the same every time
    calls: list[PastCall] = []
    for number in range((END - START).days):
        day = START + timedelta(days=number)
        usual = 3 + number // 6
        for _ in range(usual if day.weekday() < SATURDAY else usual // 2):
            moment = day + timedelta(hours=dice.triangular(7, 19, 14))
            calls += _analysis(dice, day, moment)
    return sorted(calls, key=lambda call: call.started_at)


def record_month(handler: TokenUsageHandler, calls: Sequence[PastCall]) -> None:
    """Record calls that were made elsewhere, each at its own moment and priced as of then."""
    for call in calls:
        handler.record(
            call.usage,
            chain=call.chain,
            agent="stock_analysis",
            model=MODEL,
            provider=PROVIDER,
            run_id=call.run_id,
            status="error" if call.usage is None else "ok",
            error="503 Service Unavailable: the model is overloaded" if call.usage is None else None,
            started_at=call.started_at,
            duration_ms=call.duration_ms,
        )


def _analysis(dice: random.Random, day: datetime, moment: datetime) -> Iterator[PastCall]:
    run_id = UUID(int=dice.getrandbits(128), version=4)
    for chain in CHAINS:
        given, answered = (round(tokens * dice.uniform(0.94, 1.06)) for tokens in _TOKENS[chain])
        if day == BAD_DAY and chain == "indicator_summary":
            given += 2_400
        failed = chain == "reversal_patterns" and dice.random() < 0.04  # noqa: PLR2004
        yield PastCall(
            run_id=run_id,
            chain=chain,
            started_at=moment if chain != "final_decision" else moment + timedelta(seconds=4),
            duration_ms=round(300 + answered * dice.uniform(18, 26), 1),
            usage=None if failed else {"prompt_tokens": given, "completion_tokens": answered},
        )
