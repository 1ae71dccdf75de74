"""How many facts go to a server at once? All that wait, unless it ended statements that took too long: then what fits.

Each statement that a server ends has cost all the time that it allows, often half a minute. So the first steps down are
steep; what went through is remembered from batch to batch; and more is tried only where that took a small part of the
time, and the more rarely the more often it was in vain.
"""

from __future__ import annotations

__all__ = ("Portions",)

_STEEP = 16
"""By how much a portion gets smaller of which no smaller one is known to go through."""
_SMALL_PART = 4
"""A portion that took less than this part of the time that the server allows may be doubled."""
_ENOUGH = 4_096
"""No batch is larger, so that nothing has to be cut."""
_RARER = 4
_RAREST = 1_024


class Portions:
    """What is known of one server. For one thread at a time."""

    def __init__(self) -> None:
        self._most: int | None = None
        """None while all goes at once."""
        self._fitting = 0
        """The portion that went through last, of those that were not smaller than allowed."""
        self._allowed_seconds = 0.0
        self._passed = 0
        """How many went through since the portion was changed."""
        self._wanted = 1
        """How many have to, until a larger one is tried."""

    def of(self, count: int) -> int:
        """How many of so many facts go next."""
        return count if self._most is None else min(count, self._most)

    def note_stored(self, count: int, seconds: float) -> None:
        """So many were stored, in some time."""
        if self._most is None or count < self._most:
            return
        if count > self._fitting:
            self._fitting, self._wanted = count, 1
        self._passed += 1
        if self._passed < self._wanted or seconds * _SMALL_PART > self._allowed_seconds:
            return
        self._passed = 0
        self._most *= 2
        if self._most >= _ENOUGH:
            self._most, self._fitting, self._wanted = None, 0, 1

    def note_too_slow(self, count: int, seconds: float) -> None:
        """So many were too many: the server ended it, after some time."""
        self._allowed_seconds, self._passed = seconds, 0
        if 0 < self._fitting < count:
            self._most = self._fitting
            self._wanted = min(self._wanted * _RARER, _RAREST)
        else:
            self._most, self._fitting = max(1, count // _STEEP), 0
