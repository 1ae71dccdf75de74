"""What is processed? Delivery notes of four weeks, the same every time; on one day they are eight times as long."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ("CONFIGURATIONS", "DAYS", "FIRST_DAY", "LONG_DAY", "MODELS", "TASKS", "Batch", "batches")

FIRST_DAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
DAYS = 28
LONG_DAY = 20
"""The day, counted from 0, on which a supplier sent whole lists of stock."""
MODELS = ("openai:gpt-4o-mini", "anthropic:claude-haiku-4-5", "google:gemini-2.5-flash")
"""Days take turns with them."""
TASKS: Mapping[str, str] = {
    "summary": "Summarise this delivery note in one sentence.",
    "items": "List every item of this delivery note with its quantity, one a line.",
    "check": "Does this delivery note say that something is missing? Answer yes or no, and say why.",
}
CONFIGURATIONS: Mapping[str, int | None] = {"whole": None, "excerpt": 8}
"""Name → how many lines of a document the model is shown; all, or the first."""
ITEMS = ("kettle", "toaster", "mixer grinder", "tea set", "desk lamp", "office chair", "notebook", "power bank")
PLACES = ("Mumbai", "Pune", "Delhi", "Chennai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is sent to the processor at once."""

    batch: str
    configuration: str
    model: str
    submitted_at: datetime
    documents: Mapping[str, str]
    """Name → text."""


def batches(days: int = DAYS, models: Sequence[str] = MODELS) -> Iterator[Batch]:
    """Yield the batches of some days, oldest first: each day's documents in either configuration."""
    dice = random.Random(2026)  # noqa: S311 - sample documents, the same every time
    for day in range(days):
        texts = {f"note-{day:02}-{number}": _note(dice, day) for number in range(3 + day // 10)}
        for place, configuration in enumerate(CONFIGURATIONS):
            yield Batch(
                batch=f"batch-{day:02}-{configuration}",
                configuration=configuration,
                model=models[day % len(models)],
                submitted_at=FIRST_DAY + timedelta(days=day, hours=place),
                documents=texts,
            )


def _note(dice: random.Random, day: int) -> str:
    count = dice.randint(10, 16) * (8 if day == LONG_DAY else 1)
    items = [f"{dice.randint(1, 40)} x {dice.choice(ITEMS)}, shelf {dice.randint(100, 999)}" for _ in range(count)]
    return "\n".join([f"Delivery to {dice.choice(PLACES)}, {count} lines", *items])
