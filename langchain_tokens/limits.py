"""What can a number be? The bounds of what is taken from an application or a file; beyond them it is a mistake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = ("EARLIEST", "LONGEST_MS", "MOST_ATTEMPTS", "MOST_TOKENS")

LONGEST_MS: Final = 100 * 365 * 24 * 3600 * 1000
"""A hundred years: what is longer is no duration (and may be beyond the calendar)."""
MOST_ATTEMPTS: Final = 2**31 - 1
"""What the column for it holds."""
MOST_TOKENS: Final = 10**10
"""Far beyond any call, and little enough that its cost fits into 64 bits of pico-USD."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""What is earlier is no time of a call but a default, such as `datetime.min`, and years below 1000 sort wrongly."""
