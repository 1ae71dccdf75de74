"""What stands below a table of sums? What its numbers do not cover."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = ("Counted", "gap_notes", "left_out")


class Counted(Protocol):
    """Sums that say how many calls they do not cover, as rows of a breakdown do."""

    @property
    def calls(self) -> int:
        """All of them."""
        ...

    @property
    def calls_without_usage(self) -> int:
        """Those whose tokens are not all known."""
        ...

    @property
    def unpriced_calls(self) -> int:
        """Those whose cost is not known."""
        ...

    @property
    def estimated_calls(self) -> int:
        """Those whose tokens are an estimate."""
        ...


def left_out(by: Sequence[str], rows: Iterable[Counted], total: Counted) -> tuple[str, ...]:
    """What stands below rows that a limit cut, since they add up to less than the total."""
    left = total.calls - sum(row.calls for row in rows) if by else 0
    return (f"{left:,} of {total.calls:,} calls are in rows beyond the limit",) if left else ()


def gap_notes(total: Counted) -> tuple[str, ...]:
    """What stands below a table of sums: how many calls they do not cover, or cover by estimates."""
    said = (
        (total.calls_without_usage, "without complete usage: tokens missing in these sums"),
        (total.unpriced_calls, "without a price: cost not in these sums"),
        (total.estimated_calls, "with estimated tokens"),
    )
    return tuple(f"{count:,} of {total.calls:,} calls {what}" for count, what in said if count)
