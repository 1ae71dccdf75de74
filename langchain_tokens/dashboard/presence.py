"""Is the database's file still there? Who only looks makes no new one where it was."""

from __future__ import annotations

from langchain_tokens.errors import StoreError
from langchain_tokens.store.target import StoreTarget

__all__ = ("Presence",)


class Presence:
    """Whether a file that was there is gone. One that never was is the store's to make."""

    def __init__(self, target: StoreTarget) -> None:
        self._target = target
        self._was_there = False

    def check(self) -> None:
        """Make sure that the file was not taken away.

        Raises:
            StoreError: where it was: a new and empty one in its place would be in the way of the old one's return.

        """
        if self._target.path is None:
            return
        is_there = self._target.path.exists()
        if self._was_there and not is_there:
            raise StoreError(f"the file of {self._target} is gone: it was moved or deleted while this was open")
        self._was_there = is_there
