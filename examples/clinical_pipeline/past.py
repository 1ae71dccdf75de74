"""What did the pipeline use until now? Six weeks that are made up, the same every time, one day of which went wrong.

On `BAD_DAY` whole records in place of single notes were sent to the extractor.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from examples.clinical_pipeline.components import EXTRACTOR, MAPPER
from examples.scripted import Entry, Ledger
from langchain_tokens import TokenUsageHandler

__all__ = ("BAD_DAY", "NOW", "START", "record_past")

START = datetime(2025, 9, 8, tzinfo=UTC)
NOW = datetime(2025, 10, 20, 12, tzinfo=UTC)
BAD_DAY = datetime(2025, 10, 9, tzinfo=UTC)
SATURDAY = 5
_TOKENS = {EXTRACTOR: (150, 70), MAPPER: (120, 80)}
"""Component → tokens that it usually takes and gives."""


def record_past(handler: TokenUsageHandler) -> Ledger:
    """Record the six weeks, each call at its moment and at the price of then; return what was recorded."""
    dice, ledger = random.Random(7), Ledger()  # noqa: S311 - a sample, the same every time
    for number in range((NOW - START).days + 1):
        day = START + timedelta(days=number)
        for _ in range(dice.randint(7, 10) if day.weekday() < SATURDAY else 2):
            moment = day + timedelta(hours=dice.uniform(7, 18))
            if moment < NOW:
                _record_note(handler, ledger, dice, moment)
    return ledger


def _record_note(handler: TokenUsageHandler, ledger: Ledger, dice: random.Random, moment: datetime) -> None:
    run_id = UUID(int=dice.getrandbits(128), version=4)
    for component, usual in _TOKENS.items():
        given, answered = (round(tokens * dice.uniform(0.85, 1.15)) for tokens in usual)
        if moment.date() == BAD_DAY.date() and component == EXTRACTOR:
            given += 3_000
        ledger.add(Entry(step=component, model="gpt-4o", input_tokens=given, output_tokens=answered))
        handler.record(
            {"prompt_tokens": given, "completion_tokens": answered},
            chain=component,
            model="gpt-4o",
            provider="openai",
            run_id=run_id,
            started_at=moment,
            duration_ms=round(answered * dice.uniform(14, 20), 1),
        )
        moment += timedelta(seconds=3)
