"""Which call does this one merely hand on? A chat model that asks another one reports that one's answer as its own."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

from langchain_tokens.opencall import OpenCall

__all__ = ("Repeats",)

_KEPT = 256

Key = TypeVar("Key")
Value = TypeVar("Value")
type_failed = tuple[weakref.ref[BaseException], OpenCall]


class Repeats:
    """The calls that ended last, by what their wrappers would end with. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._answered: OrderedDict[str, OpenCall] = OrderedDict()
        self._failed: OrderedDict[int, type_failed] = OrderedDict()

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.RLock()

    def note_piece(self, call: OpenCall, message_id: object) -> None:
        """Note the message that a stream begins with: a wrapper's stream is closed before the one that it hands on."""
        if not isinstance(message_id, str):
            return
        call.message_id = message_id
        with self._lock:
            known = self._answered.get(message_id)
            if known is None or known.record is not None:  # else the wrapper of a call that is still open
                _keep(self._answered, message_id, call)

    def note(
        self, call: OpenCall, message_id: str | None, error: BaseException | None, around: Iterable[OpenCall]
    ) -> None:
        """Note how a call ended: with this message, or this error; `around` are the calls that may hand it on."""
        with self._lock:
            if message_id is not None:
                _keep(self._answered, message_id, call)
            if error is not None and type(error).__weakrefoffset__:
                _keep(self._failed, id(error), (weakref.ref(error), call))
            elif error is not None:  # Python's own have no weak references: held for as long as a wrapper may raise it
                for outer in around:
                    outer.inner_failure = (error, call)

    def inner_call(self, call: OpenCall, message_id: str | None, error: BaseException | None) -> OpenCall | None:
        """The call whose end this one repeats: one of another kind of model that began later, with the same message or
        the same error.
        """
        held, call.inner_failure = call.inner_failure, None
        with self._lock:
            inner = self._answered.get(message_id) if message_id is not None else None
            if error is not None:
                known, failed = self._failed.get(id(error), (None, None))
                inner = failed if known is not None and known() is error else inner
                inner = held[1] if held is not None and held[0] is error else inner
        if inner is None or inner.clock <= call.clock or inner.model_class == call.model_class:
            return None
        return inner


def _keep(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    kept.pop(key, None)  # not moved: a signal's handler may let it go before that
    kept[key] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)
