"""What becomes of the copy of a file when the change that it was made for fails? It goes, or the error names it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from langchain_tokens.errors import TokensError
from langchain_tokens.store.backup import back_up
from langchain_tokens.store.looking import found_revision
from langchain_tokens.store.target import StoreTarget

__all__ = ("Safeguard", "safeguarded")


@dataclass(slots=True, kw_only=True)
class Safeguard:
    """The copy of a file that is about to be changed."""

    target: StoreTarget
    is_wanted: bool
    path: Path | None = None
    """None as long as there is none, as where there is no file to copy."""
    schema: str | None = None

    def make(self) -> None:
        """Copy the file, where that is wanted.

        Raises:
            StoreError: as `back_up`.

        """
        if self.is_wanted and self.target.path is not None:
            made = back_up(self.target)
            self.path, self.schema = made.path, made.schema

    def goes(self) -> bool:
        """Remove the copy where the file is as it was; tells whether there is none now."""
        if self.path is None:
            return True
        try:
            if found_revision(self.target) != self.schema:
                return False
            self.path.unlink(missing_ok=True)
        except (TokensError, OSError, sqlite3.Error):
            return False
        return True


@contextmanager
def safeguarded(target: StoreTarget, *, is_wanted: bool) -> Iterator[Safeguard]:
    """Around a transaction that changes a schema: where it fails, a copy that was made for it goes with it.

    A copy is kept, and the error says where it is, if the file cannot be seen to be as it was.
    """
    guard = Safeguard(target=target, is_wanted=is_wanted)
    try:
        yield guard
    except BaseException as error:
        if guard.goes():
            raise
        said = f"the file as it was: {guard.path}"
        if isinstance(error, (TokensError, KeyboardInterrupt)):
            raise type(error)(f"{error}; {said}" if str(error) else said) from error
        error.add_note(said)
        raise
