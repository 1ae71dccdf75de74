"""What do earlier calls teach about the next? How long answers are, and by which names models answer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

__all__ = ("Learned",)

_LEARNED = 4_096


class Learned:
    """What earlier calls of this store teach: how long answers were, and by which names models answer. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._longest: OrderedDict[tuple[str | None, str | None], int] = OrderedDict()
        self._served: OrderedDict[str, str] = OrderedDict()
        self._is_begun = False

    def begin(self) -> bool:
        """Tell whether this is the first time, so that whoever asks is to read what earlier processes left."""
        with self._lock:
            is_first, self._is_begun = not self._is_begun, True
            return is_first

    def note(self, requested: str | None, served: str | None, chain: str | None, output: int | None) -> None:
        """Learn from a call."""
        with self._lock:
            if requested is not None and served is not None:
                self._served[requested] = served
                _shrink(self._served)
            for model in {requested, served}:
                if output and output > self._longest.get((model, chain), 0):
                    self._longest.pop((model, chain), None)
                    self._longest[model, chain] = output
            _shrink(self._longest)

    def longest(self, model: str | None, chain: str | None) -> int | None:
        """The longest answer of a model in a chain, in tokens."""
        return self._longest.get((model, chain))

    def served(self, requested: str | None) -> str | None:
        """The name by which a model answers, as its calls are recorded."""
        return requested if requested is None else self._served.get(requested, requested)


def _shrink(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _LEARNED:
        kept.popitem(last=False)
