"""How many runs and sessions are there? In a large store they are counted now and then, not with every answer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_tokens.query import Query
from langchain_tokens.reports.glance import Counted, count_both

__all__ = ("Counts",)

_QUICK_SECONDS = 0.01
"""What is counted in less is counted each time."""
_REST = 100
"""How much longer than counting took a number is given again."""
_LONGEST_SECONDS = 10.0
_MOST = 100


@dataclass(frozen=True, slots=True)
class _Before:
    found: Counted
    calls: int
    until: float


class Counts:
    """Numbers that took long to count, for some seconds; but never where calls have gone."""

    def __init__(
        self,
        count: Callable[[Any, Query, int], Counted] = count_both,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._clock = count, clock
        self._lock = threading.Lock()
        self._before: OrderedDict[str, _Before] = OrderedDict()

    def get(self, question: str, connection: Any, query: Query, calls: int) -> Counted:
        """The number of runs and of sessions.

        Args:
            question: which calls, in words that stay the same while the range moves on.
            connection: one that reads.
            query: which calls.
            calls: how many they are now.

        """
        before, start = self._before.get(question), self._clock()
        if before is not None and start < before.until and calls >= before.calls:
            return before.found
        found = self._count(connection, query, calls)
        took = self._clock() - start
        with self._lock:
            self._before.pop(question, None)
            if took >= _QUICK_SECONDS:
                until = self._clock() + min(took * _REST, _LONGEST_SECONDS)
                self._before[question] = _Before(found, calls, until)
            while len(self._before) > _MOST:
                self._before.popitem(last=False)
        return found

    def forget(self) -> None:
        """Calls were deleted: count anew."""
        with self._lock:
            self._before.clear()
