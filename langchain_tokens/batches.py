"""Which call of a text model's batch says what all of them used? The first, or none.

LangChain gives the usage of a batch to its first prompt and an empty one to the others, whether or not there is any.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

__all__ = ("Batch", "Batches")

_KEPT = 256


class Batch:
    """The calls that were made in one request."""

    __slots__ = ("_first", "_is_said", "_parameters")

    def __init__(self, first: str, parameters: Any) -> None:
        self._first = first
        self._is_said = True  # while the first's end is still to come, as where hooks run in threads
        self._parameters = parameters  # held, so that no other object has its address meanwhile

    def is_said_by_first(self, run_id: str, *, says_usage: bool) -> bool:
        """Note that a call ended, and tell whether another one, the first, says what it used.

        Args:
            run_id: the call's.
            says_usage: whether its own answer says any.

        """
        if run_id == self._first:
            self._is_said = says_usage
            return False
        return self._is_said


class Batches:
    """The batches that began last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._batches: OrderedDict[int, Batch] = OrderedDict()

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.RLock()

    def join(self, run_id: str, parameters: Any) -> Batch:
        """The batch of a call that starts; `parameters` are the object that all calls of a batch have in common."""
        with self._lock:
            batch = self._batches.setdefault(id(parameters), Batch(run_id, parameters))
            while len(self._batches) > _KEPT:
                self._batches.popitem(last=False)
            return batch
