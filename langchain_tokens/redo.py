"""Is this work done again, and why? What failed or stopped is remembered by the calls it had made; when it runs once
more, as many calls are work done again, and what comes after them is new.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_tokens.call import Call, RetryKind

__all__ = ("MadeCalls", "Unfinished", "Work", "count_call", "retry_tag")

_RETRY_START = "retry:"
_RETRY_TAG = re.compile(r"retry:attempt:(\d+)")
_KEPT_UNFINISHED = 2_048
_KEPT_UNFINISHED_CALLS = 8_192
_KEPT_FAILED = 1_024
_KEPT_FAILED_CALLS = 4_096
_KEPT_CALLS = _KEPT_UNFINISHED_CALLS
"""Calls themselves that are held for one run, and for what failed in it: about 1 kB each beside their record, until it
ends. Of those beyond, only their number is known.
"""

type_asked = tuple[str | None, int | None]
"""Which question: its chain, and its mark."""
type_model = tuple[str | None, str | None]
"""Which model: its provider, and its name there."""


class Repeatable(Protocol):
    """A call that may have to be made again."""

    record: Call | None
    is_superseded: bool


class Made:
    """The calls that were made with one path: how many, and the first of them, in the order they were made."""

    __slots__ = ("calls", "count")

    def __init__(self) -> None:
        self.count = 0
        self.calls: list[Repeatable] = []

    def left(self) -> Made:
        """What another execution has to make again; the calls whose work it will replace, last one first."""
        again = Made()
        again.count = self.count
        again.calls = [call for call in reversed(self.calls) if _has_worked(call)]
        return again


class MadeCalls(dict[str | None, Made]):
    """The calls that were made, by their path."""

    __slots__ = ("error", "held")

    def __init__(self) -> None:
        super().__init__()
        self.error: str | None = None
        """What ended the run that made them, as it may be stored; None where it was no failure."""
        self.held = 0
        """How many calls themselves are held, and not only their number."""

    def let_calls_go(self) -> None:
        """Hold no call itself any more."""
        self.held = 0
        for made in self.values():
            made.calls.clear()


def retry_tag(tags: Sequence[str]) -> bool:
    """Tell whether `with_retry` marked a run as a second or later attempt."""
    for tag in tags:
        if tag.startswith(_RETRY_START) and (found := _RETRY_TAG.fullmatch(tag)) is not None and int(found[1]) > 1:
            return True
    return False


class Work:
    """What one open run has done so far: the calls made in it, and what of it failed."""

    __slots__ = ("_held_of_failed", "again", "error", "failed", "failed_calls", "is_given_up", "kind", "made")

    def __init__(self) -> None:
        self.made = MadeCalls()
        self.error: str | None = None
        """The error that made it necessary to do this again."""
        self.kind: RetryKind | None = None
        """Why this is done again, if it is."""
        self.again: dict[str | None, Made] | None = None
        """The calls that the earlier execution had made and this one has not yet; None: all of this is done again."""
        self.failed: dict[Any, MadeCalls] = {}
        """What runs directly in this one had done when they failed."""
        self._held_of_failed = 0
        self.failed_calls: dict[type_asked, type_model] = {}
        """The calls directly in this run that failed last time."""
        self.is_given_up = False
        """An attempt of this `with_fallbacks` failed."""

    def redo(self, kind: RetryKind, again: MadeCalls | None) -> None:
        """Note that this is an earlier execution's work, done again."""
        self.kind, self.error = kind, None if again is None else again.error
        self.again = None if again is None else {path: made.left() for path, made in again.items()}

    def add(self, path: str | None, call: Repeatable) -> None:
        """Count a call that is made in here."""
        made = self.made.get(path)
        if made is None:
            made = self.made[path] = Made()
        made.count += 1
        if self.made.held < _KEPT_CALLS:
            self.made.held += 1
            made.calls.append(call)

    def take(self, path: str | None) -> tuple[RetryKind | None, Repeatable | None]:
        """Say why a call is made again, if the earlier execution had made it, and which of that one's it replaces."""
        if self.again is None:
            return self.kind, None
        left = self.again.get(path)
        if left is None or not left.count:
            return None, None
        left.count -= 1
        return self.kind, left.calls.pop() if left.calls else None

    def release(self) -> MadeCalls:
        """Hand over what was made in here; a run that has ended holds on to no call."""
        made, self.made = self.made, MadeCalls()
        for left in (self.again or {}).values():
            left.calls.clear()
        return made

    def note_failed(self, key: Any, made: MadeCalls) -> None:
        """Remember what a run directly in this one had done when it failed."""
        if not made:
            return
        self.take_failed(key)
        if len(self.failed) >= _KEPT_FAILED:
            return
        if self._held_of_failed + made.held > _KEPT_CALLS:
            made.let_calls_go()
        self._held_of_failed += made.held
        self.failed[key] = made

    def take_failed(self, key: Any) -> MadeCalls | None:
        """Hand over what a run directly in this one had done when it failed, to the run that does it again."""
        made = self.failed.pop(key, None)
        self._held_of_failed -= 0 if made is None else made.held
        return made

    def note_call(self, asked: type_asked, model: type_model, *, failed: bool) -> None:
        """Remember that a call directly in this run failed, until it succeeds."""
        if not failed:
            self.failed_calls.pop(asked, None)
        elif len(self.failed_calls) < _KEPT_FAILED_CALLS:
            self.failed_calls[asked] = model

    def asked_again(self, asked: type_asked, model: type_model) -> RetryKind | None:
        """Say why a call directly in this run is made again: the same question failed, of this model or another."""
        if asked not in self.failed_calls:
            return None
        return "retry" if self.failed_calls[asked] == model else "fallback"


def count_call(
    call: Repeatable, path: str | None, works: Sequence[Work], redone: Sequence[Work]
) -> tuple[RetryKind | None, str | None, tuple[Repeatable, ...]]:
    """Count a call in all the work it is part of, outermost first.

    Returns:
        Why it is made again and after which error, as the innermost work says that is done again; and the calls that
        it takes the place of.

    """
    for work in works:
        work.add(path, call)
    kind: RetryKind | None = None
    error: str | None = None
    replaced: tuple[Repeatable, ...] = ()
    for work in redone:
        found, earlier = work.take(path)
        if found is not None:
            kind, error = found, work.error
        if earlier is not None:
            replaced = (*replaced, earlier)
    return kind, error, replaced


def _has_worked(call: Repeatable) -> bool:
    """Tell whether a call's answer is lost when its work is done again: one that failed gave none."""
    return not call.is_superseded and (call.record is None or call.record.status in ("ok", "cached"))


class Unfinished:
    """Node executions that failed, were cancelled or interrupted: LangGraph may run them again, in the same run or
    after a resume in another, and names them by the same namespace.
    """

    def __init__(self) -> None:
        self._by_namespace: OrderedDict[str, tuple[str, MadeCalls]] = OrderedDict()
        self._held_calls = 0
        self._holding: OrderedDict[str, int] = OrderedDict()
        """How many calls themselves are held for a namespace, and not only their number."""

    def __contains__(self, namespace: str | None) -> bool:
        return namespace in self._by_namespace

    def note(self, namespace: str, top_id: str, made: MadeCalls) -> None:
        """Remember what a node had done when it stopped."""
        self.take(namespace, top_id)
        self._by_namespace[namespace] = (top_id, made)
        self._holding[namespace] = made.held
        self._held_calls += made.held
        while len(self._by_namespace) > _KEPT_UNFINISHED:
            self.take(next(iter(self._by_namespace)), top_id)
        while self._held_calls > _KEPT_UNFINISHED_CALLS:
            self._let_calls_go()

    def take(self, namespace: str, top_id: str) -> tuple[RetryKind, MadeCalls] | None:
        """What this execution does again: a retry in the same run, a replay in another."""
        found = self._by_namespace.pop(namespace, None)
        if found is None:
            return None
        self._held_calls -= self._holding.pop(namespace, 0)
        return ("retry" if found[0] == top_id else "replay"), found[1]

    def _let_calls_go(self) -> None:
        namespace, count = self._holding.popitem(last=False)
        self._held_calls -= count
        self._by_namespace[namespace][1].let_calls_go()
