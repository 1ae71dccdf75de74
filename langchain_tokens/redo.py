"""Is this work done again, and why? What failed or stopped is remembered by the calls it had made; when it runs once
more, as many calls are work done again, and what comes after them is new.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from langchain_tokens.call import RetryKind

__all__ = ("Unfinished", "Work", "count_call", "retry_tag")

_RETRY_TAG = re.compile(r"retry:attempt:(\d+)")
_KEPT_UNFINISHED = 2_048
_KEPT_FAILED = 64

type_made = dict[str | None, int]
"""How many calls were made, by their path."""


def retry_tag(tags: Sequence[str]) -> bool:
    """Tell whether `with_retry` marked a run as a second or later attempt."""
    return any((found := _RETRY_TAG.fullmatch(tag)) is not None and int(found[1]) > 1 for tag in tags)


class Work:
    """What one open run has done so far: the calls made in it, and what of it failed."""

    __slots__ = ("again", "failed", "failed_calls", "is_given_up", "kind", "made")

    def __init__(self) -> None:
        self.made: type_made = {}
        self.kind: RetryKind | None = None
        """Why this is done again, if it is."""
        self.again: type_made | None = None
        """The calls that the earlier execution had made and this one has not yet; None: all of this is done again."""
        self.failed: dict[Any, type_made] = {}
        """What runs directly in this one had done when they failed."""
        self.failed_calls: dict[tuple[str | None, int | None], str | None] = {}
        """The calls directly in this run that failed last time: chain and question → model."""
        self.is_given_up = False
        """An attempt of this `with_fallbacks` failed."""

    def redo(self, kind: RetryKind, again: type_made | None) -> None:
        """Note that this is an earlier execution's work, done again."""
        self.kind = kind
        self.again = None if again is None else dict(again)

    def take(self, path: str | None) -> RetryKind | None:
        """Say why a call is made again, if the earlier execution had made it."""
        if self.again is None:
            return self.kind
        left = self.again.get(path, 0)
        if left == 0:
            return None
        self.again[path] = left - 1
        return self.kind

    def note_failed(self, key: Any, made: type_made) -> None:
        """Remember what a run directly in this one had done when it failed."""
        if made and len(self.failed) < _KEPT_FAILED:
            self.failed[key] = made

    def note_call(self, asked: tuple[str | None, int | None], model: str | None, *, failed: bool) -> None:
        """Remember that a call directly in this run failed, until it succeeds."""
        if not failed:
            self.failed_calls.pop(asked, None)
        elif len(self.failed_calls) < _KEPT_FAILED:
            self.failed_calls[asked] = model

    def asked_again(self, asked: tuple[str | None, int | None], model: str | None) -> RetryKind | None:
        """Say why a call directly in this run is made again: the same question failed, of this model or another."""
        if asked not in self.failed_calls:
            return None
        return "retry" if self.failed_calls[asked] == model else "fallback"


def count_call(works: Sequence[Work], redone: Sequence[Work], path: str | None) -> RetryKind | None:
    """Count a call in all the work it is part of, outermost first; the innermost that is done again says why."""
    for work in works:
        work.made[path] = work.made.get(path, 0) + 1
    kind: RetryKind | None = None
    for work in redone:
        kind = work.take(path) or kind
    return kind


class Unfinished:
    """Node executions that failed, were cancelled or interrupted: LangGraph may run them again, in the same run or
    after a resume in another, and names them by the same namespace.
    """

    def __init__(self) -> None:
        self._by_namespace: OrderedDict[str, tuple[str, type_made]] = OrderedDict()

    def __contains__(self, namespace: str | None) -> bool:
        return namespace in self._by_namespace

    def note(self, namespace: str, top_id: str, made: type_made) -> None:
        """Remember what a node had done when it stopped."""
        self._by_namespace[namespace] = (top_id, made)
        self._by_namespace.move_to_end(namespace)
        while len(self._by_namespace) > _KEPT_UNFINISHED:
            self._by_namespace.popitem(last=False)

    def take(self, namespace: str, top_id: str) -> tuple[RetryKind, type_made] | None:
        """What this execution does again: a retry in the same run, a replay in another."""
        found = self._by_namespace.pop(namespace, None)
        if found is None:
            return None
        return ("retry" if found[0] == top_id else "replay"), found[1]
