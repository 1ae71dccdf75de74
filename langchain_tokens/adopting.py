"""Whose is a call in a run that this handler never saw begin? That of another handler on the same store which did.

A handler in a model's constructor hears of the model's calls only. Alone it makes a run of what they have in common;
beside a handler that saw the whole, that would be a second run of the same calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from langchain_tokens.call import RunFact
from langchain_tokens.frames import Frame
from langchain_tokens.roots import Root

__all__ = ("Adopted", "Follower")

_KEPT_RUNS = 256


class Follower(Protocol):
    """Who wants to be told how a run ended that it never saw begin."""

    def note_end(self, fact: RunFact, /) -> bool:
        """Note it, and tell whether that run has calls here."""


class Adopted:
    """The runs that others saw begin, as this handler has them. Its caller holds a lock.

    Args:
        find: finds the run of an id that another handler on the same store saw begin.
        follower: who is told of the ends.

    """

    def __init__(self, find: Callable[[str], Frame | None], follower: Follower) -> None:
        self._find = find
        self._follower = follower
        self._runs: OrderedDict[str, _Whole] = OrderedDict()

    def frame(self, run_id: str) -> Frame | None:
        """A run as another handler sees it, with nothing counted in it yet; None where none does."""
        seen = self._find(run_id)
        if seen is None:
            return None
        whole = self._runs.get(seen.root.run_id)
        if whole is None or whole.there is not seen.root:
            whole = self._runs[seen.root.run_id] = _Whole(seen.root, seen.root.followed_by(self._follower))
            if len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        return seen.anew(whole.here, whole.counters_of(seen))


class _Whole:
    """A whole run: what the other handler has of it, and what this one has."""

    __slots__ = ("_counters", "here", "there")

    def __init__(self, there: Root, here: Root) -> None:
        self.there = there
        self.here = here
        self._counters: dict[int, tuple[dict[Any, int], dict[Any, int]]] = {}
        """The other handler's counters by their identity, held for that, each with those of this handler."""

    def counters_of(self, seen: Frame) -> dict[Any, int]:
        return self._counters.setdefault(id(seen.counters), (seen.counters, {}))[1]
