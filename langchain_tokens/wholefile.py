"""Is a file whole, or not there at all? It is written under another name, and gets its own when it is on the device."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from langchain_tokens.errors import StoreError
from langchain_tokens.syncing import sync_file, sync_folder

__all__ = ("WholeFile", "refuse_to_overwrite", "require_folder", "translated")


class WholeFile:
    """A file in the making. Whatever interrupts the block in which it is open, nothing of it is left.

    Args:
        path: an absolute path, in a folder that is there.
        may_replace: whether a file of that name is replaced; otherwise it is an error, and stays as it was.

    """

    def __init__(self, path: Path, *, may_replace: bool = False) -> None:
        self.path = path
        self.may_replace = may_replace

    def __enter__(self) -> Self:
        """Begin, under another name beside it.

        Raises:
            StoreError: when no file can be made there.

        """
        with translated(self.path):
            self._descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f"{self.path.name}.", suffix=".part")
            self._part = Path(name)
            self.file: IO[bytes] = os.fdopen(self._descriptor, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the file its name, unless the block failed."""
        try:
            with translated(self.path):
                self._finish(is_whole=kind is None)
        finally:
            self._part.unlink(missing_ok=True)

    def _finish(self, *, is_whole: bool) -> None:
        with self.file:
            if not is_whole:
                return
            self.file.flush()
            sync_file(self._descriptor)
        if not self.may_replace:
            refuse_to_overwrite(self.path)
        self._part.replace(self.path)
        sync_folder(self.path.parent)


def require_folder(path: str | Path, *, may_replace: bool = False) -> Path:
    """Where a file is to be written, checked before anything else is done.

    Raises:
        StoreError: for a file that is there already, a folder that is not, or a name that none can have.

    """
    if "\0" in str(path):
        raise StoreError(f"{str(path)!r} has a NUL in it; name another file")
    goal = Path(path).expanduser().absolute()
    if not goal.parent.is_dir():
        raise StoreError(f"{goal} is in a folder that does not exist; make {goal.parent} first")
    if goal.is_dir():
        raise StoreError(f"{goal} is a folder; name a file in it")
    if not may_replace:
        refuse_to_overwrite(goal)
    return goal


def refuse_to_overwrite(goal: Path) -> None:
    """Leave a file alone that is there.

    Raises:
        StoreError: when it is.

    """
    if goal.exists():
        raise StoreError(f"{goal} is there already, and was left as it is; name another file")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """The system's errors about a file in our own words."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} could not be written or read: {error.strerror or error}") from error
