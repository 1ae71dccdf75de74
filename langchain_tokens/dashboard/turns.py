"""Whose turn is it? Those who ask the same at once wait here one after another, and take no thread while they do."""

from __future__ import annotations

from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel

__all__ = ("Turns",)


class Turns:
    """A lock for each question that is being answered, for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[object, str], anyio.Lock] = WeakValueDictionary()

    def of(self, question: str) -> anyio.Lock:
        """The lock of a question in this event loop; another loop cannot wait for it."""
        return self._locks.setdefault((anyio.lowlevel.current_token(), question), anyio.Lock())
