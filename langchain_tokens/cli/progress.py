"""How far is it? A bar on stderr, where that is a terminal, and only for what takes longer than half a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

__all__ = ("shown_progress",)

_AFTER_SECONDS = 0.5


@contextmanager
def shown_progress(
    what: str, total: int | None = None, *, is_size: bool = False
) -> Iterator[Callable[[int], object] | None]:
    """What to tell how far it is; None where nobody would see it.

    Args:
        what: what is done, such as `exporting`.
        total: how much there is to do, if that is known.
        is_size: whether it is counted in bytes.

    """
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(what, total, is_size=is_size)
    try:
        yield bar.tell
    finally:
        bar.end()


class _Bar:
    def __init__(self, what: str, total: int | None, *, is_size: bool) -> None:
        self._what = what
        self._total = total
        self._is_size = is_size
        self._begun = monotonic()
        self._shown: tuple[Any, Any] | None = None

    def tell(self, done: int) -> None:
        """Show how far it is, once it takes long."""
        if self._shown is None and monotonic() - self._begun >= _AFTER_SECONDS:
            self._shown = self._begin()
        if self._shown is not None:
            progress, task = self._shown
            progress.update(task, completed=done, refresh=True)

    def end(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown[0].stop()

    def _begin(self) -> tuple[Any, Any]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        amount = DownloadColumn() if self._is_size else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.start()
        return progress, progress.add_task(self._what, total=self._total)
