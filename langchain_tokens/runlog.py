"""What does a run hold while it goes on? Its fact and its calls, priced when somebody looks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from langchain_tokens.call import Call, RunFact

__all__ = ("KEPT_SAID", "RunLog")

KEPT_SAID = 16
"""Of how many calls of a run it is known what they sent and were answered, for an error that quotes it."""

Refine = Callable[[Call], Call]


class RunLog:
    """The source of a live `Run`. Thread-safe.

    A reader never waits for the writer thread or a database: what the writer has not refined (priced) yet, the reader
    refines itself, by the same function. Nothing is called while the lock is held, so that no signal's handler can come
    back to a change that is half done.
    """

    __slots__ = ("_calls", "_lock", "_unrefined", "fact", "has_left", "is_rest", "is_shortened", "lately", "recorders")

    def __init__(self, fact: RunFact) -> None:
        self.fact = fact
        self.recorders: set[Any] = set()
        """The recorders that took calls of this run, for whoever ends it."""
        self.has_left = False
        """The memory that held it has let it go, and counts its calls in sums."""
        self.is_rest = False
        """Earlier calls of this run have left the memory; the store has them all."""
        self.is_shortened = False
        """Nothing of a run in memory is pruned."""
        self.lately: deque[Any] | None = None
        """What the newest calls of a `track()` sent and were answered, by reference and while it goes on."""
        self._lock = threading.RLock()
        self._calls: dict[str, Call] = {}
        self._unrefined: dict[str, Refine] = {}

    @property
    def calls(self) -> Sequence[Call]:
        """The calls so far in the order they started, all refined."""
        with self._lock:
            calls, unrefined = {**self._calls}, {**self._unrefined}
        for call_id, refine in unrefined.items():
            self.settle(refine(calls[call_id]))
        with self._lock:
            calls = {**self._calls}
        return sorted(calls.values(), key=lambda call: call.started_at)

    def note(self, call: Call, refine: Refine) -> bool:
        """Take a call that ended, or a correction of one; the same call twice counts once. Tells whether it is new."""
        call_id = call.call_id
        with self._lock:
            is_new = call_id not in self._calls
            if is_new or call.revision > self._calls[call_id].revision:
                self._calls[call_id] = call
                self._unrefined[call_id] = refine
        return is_new

    @property
    def count(self) -> int:
        """How many calls it holds."""
        return len(self._calls)

    def noted(self, call_id: str) -> Call | None:
        """One call, as far as it is refined by now; None where it was not noted."""
        return self._calls.get(call_id)

    def waiting(self, call_id: str) -> Refine | None:
        """What is still to be done to a call."""
        return self._unrefined.get(call_id)

    def settle(self, call: Call) -> None:
        """Put a refined call in the place of the one it was made from."""
        with self._lock:
            waits = call.call_id in self._unrefined and self._calls[call.call_id].revision == call.revision
            if waits:
                self._calls[call.call_id] = call
                del self._unrefined[call.call_id]

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.RLock()
