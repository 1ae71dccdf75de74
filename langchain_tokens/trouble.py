"""What went wrong, quietly? Each kind of trouble is logged once; the host goes on."""

from __future__ import annotations

import logging
import threading

__all__ = ("LOGGER", "Warnings", "may_be_a_signal")

LOGGER = logging.getLogger("langchain_tokens")


class Warnings:
    """Log each kind of trouble once, so that a broken part does not flood the host's log.

    There is no lock that a fork could leave locked in the child, or a signal's handler wait for in vain.
    """

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}
        """Each kind → whoever was the first to meet it."""

    def once(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Warn if this kind of trouble is new."""
        me = object()
        if self._seen.setdefault(kind, me) is me:  # one step, of which two threads cannot both be the first
            LOGGER.warning("%s%s", message, "" if error is None else f" ({type(error).__name__}: {error})")


def may_be_a_signal(error: BaseException) -> bool:
    """Tell whether the host may be about to end, as by Ctrl+C: Python raises that in the main thread alone."""
    return not isinstance(error, Exception) and threading.current_thread() is threading.main_thread()
