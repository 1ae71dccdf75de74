"""Which call was paid where LangChain's cache marked two as its hits? Told by what they share.

A cache in memory hands out the very object that the paid call got, and marks that one as costing nothing. Where the
message has an id of LangChain's own, the id names the paid call; the ids of providers tell nothing.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from langchain_tokens.opencall import OpenCall

__all__ = ("Hits",)

_KEPT = 4_096
_OWN_ID = "lc_run-"


class Hits:
    """The answers of providers that were paid here, by their ids. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._paid: OrderedDict[str, None] = OrderedDict()
        self._handed_out: OrderedDict[str, tuple[weakref.ref[Any], float]] = OrderedDict()
        """What the cache answered before its paid call was seen to end → the object, and when that was asked for."""

    def forget_after_fork(self) -> None:
        """In a forked child: begin with a free lock."""
        self._lock = threading.RLock()

    def is_hit(
        self, call: OpenCall, message_id: str | None, response: Any, *, is_marked: bool, has_twin: Callable[[], bool]
    ) -> bool:
        """Tell whether LangChain's cache answered a call.

        Args:
            call: the call, which has ended.
            message_id: its message's id.
            response: its result.
            is_marked: whether the cache's mark is on it.
            has_twin: tells whether another call of the same batch asks the same and has not ended.

        """
        if message_id is None or message_id.startswith(_OWN_ID):
            return is_marked
        with self._lock:
            if is_marked and not self._is_paid(call, message_id, response, has_twin):
                return True
            self._handed_out.pop(message_id, None)
            _keep(self._paid, message_id, None)
            return False

    def _is_paid(self, call: OpenCall, message_id: str, response: Any, has_twin: Callable[[], bool]) -> bool:
        """Whether a marked call was paid. The ends of a batch come in the order of its prompts, once all are answered;
        otherwise a hit may end while the paid call still writes the cache.
        """
        if message_id in self._paid:
            return False
        if call.batch_size > 1 and has_twin():
            return True
        generation = _first_generation(response)
        known = self._handed_out.get(message_id)
        if known is not None:
            return call.clock < known[1] and known[0]() is generation
        if generation is not None and type(generation).__weakrefoffset__:
            _keep(self._handed_out, message_id, (weakref.ref(generation), call.clock))
        return False


def _first_generation(response: Any) -> Any:
    groups = getattr(response, "generations", None) or ((),)
    return next(iter(groups[0] or ()), None)


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    kept.pop(key, None)  # not moved: a signal's handler may let it go before that
    kept[key] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)
