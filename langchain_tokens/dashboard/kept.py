"""What was asked a moment ago, and is still true? Answers, kept for as long as nothing is stored, changed or deleted.

Several open pages ask the same after each change, and a scraper asks again and again: one of them has it read.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from langchain_tokens.store.stamping import Stamps
from langchain_tokens.store.store import UsageStore

__all__ = ("Body", "Kept")

_MOST_BYTES = 8_000_000
"""Of all answers that are kept."""
_MOST_PLACES = 1_000
_TAG_BYTES = 12
_LEVEL = 2


@dataclass(frozen=True)
class Body:
    """An answer's body."""

    content: bytes

    @cached_property
    def tag(self) -> str:
        """Equal for equal bodies; by it a caller says what it has."""
        return f'W/"{hashlib.blake2b(self.content, digest_size=_TAG_BYTES).hexdigest()}"'

    @cached_property
    def compressed(self) -> bytes:
        """The same for callers that can unpack it."""
        return gzip.compress(self.content, _LEVEL, mtime=0)


@dataclass(slots=True)
class _Place:
    """Where an answer is kept; whoever has the lock makes it, and others wait for that one."""

    lock: threading.Lock
    body: Body | None = None
    stamp: object = None
    until: float = 0.0
    size: int = 0
    """Bytes that are counted for it."""


class Kept:
    """The answers that were given last, some megabytes of them."""

    def __init__(self, store: UsageStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._stamps, self._clock = Stamps(store), clock
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._bytes = 0

    def stamp(self) -> object:
        """What tells the database of this moment from a later one; None where nothing does."""
        return self._stamps.now()

    def get(
        self,
        question: str,
        make: Callable[[], bytes],
        seconds: float,
        *,
        stamp: object = None,
        is_fresh: bool = False,
    ) -> Body:
        """The answer to a question: as it was made before, where the database is as it was then, else made now.

        Args:
            question: what is asked; all that the answer depends on, but for the database and the time.
            make: makes the answer.
            seconds: how long the answer holds while the database stays as it is, since time goes on.
            stamp: that of the moment when it was asked; None is now.
            is_fresh: make it in any case.

        """
        if stamp is None:
            stamp = self.stamp()
        if stamp is None:
            return Body(make())
        place = self._place(question)
        with place.lock:
            if place.body is None or is_fresh or place.stamp != stamp or self._clock() >= place.until:
                place.until = self._clock() + seconds
                place.body, place.stamp = Body(make()), stamp
                self._count(question, place, len(place.body.content))
            return place.body

    def _place(self, question: str) -> _Place:
        with self._lock:
            place = self._places.setdefault(question, _Place(threading.Lock()))
            self._places.move_to_end(question)
            while len(self._places) > _MOST_PLACES:
                self._drop()
            return place

    def _count(self, question: str, place: _Place, size: int) -> None:
        with self._lock:
            if self._places.get(question) is not place:  # dropped in the meantime
                return
            self._bytes += size - place.size
            place.size = size
            while self._bytes > _MOST_BYTES:
                self._drop()

    def _drop(self) -> None:
        """Forget the answer that was asked for longest ago."""
        _, place = self._places.popitem(last=False)
        self._bytes -= place.size
