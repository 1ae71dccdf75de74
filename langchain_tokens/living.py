"""Which of them are still alive? Those that a weak set knows, while other threads make more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from weakref import WeakSet

__all__ = ("living",)

Part = TypeVar("Part")


def living(parts: WeakSet[Part]) -> list[Part]:
    """The members at some moment. Python lets go of a set that another thread adds to in the middle; then it is another
    moment.
    """
    while True:
        try:
            return list(parts)
        except RuntimeError:  # nothing else raises it, and to make a member takes longer than a look
            continue
