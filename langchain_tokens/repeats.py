"""Which call does this one merely hand on? A chat model that asks another one reports that one's answer as its own."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
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
        self._lock = threading.Lock()
        self._answered: OrderedDict[str, OpenCall] = OrderedDict()
        self._failed: OrderedDict[int, type_failed] = OrderedDict()

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.Lock()

    def note(self, call: OpenCall, message_id: str | None, error: BaseException | None) -> None:
        """Note how a call ended: with this message, or this error."""
        with self._lock:
            if message_id is not None:
                _keep(self._answered, message_id, call)
            if error is not None and type(error).__weakrefoffset__:
                _keep(self._failed, id(error), (weakref.ref(error), call))

    def inner_call(self, call: OpenCall, message_id: str | None, error: BaseException | None) -> OpenCall | None:
        """The call whose end this one repeats: one of another kind of model, begun after this one and ended before it,
        with the same message or the same error.
        """
        with self._lock:
            inner = self._answered.get(message_id) if message_id is not None else None
            if error is not None:
                known, failed = self._failed.get(id(error), (None, None))
                inner = failed if known is not None and known() is error else inner
        if inner is None or inner.clock <= call.clock or inner.model_class == call.model_class:
            return None
        return inner


def _keep(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)
