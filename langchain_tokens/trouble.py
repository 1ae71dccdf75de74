"""What went wrong, quietly? Each kind of trouble is logged once; the host goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

from langchain_tokens.masking import error_text

__all__ = ("LOGGER", "Warnings", "may_be_a_signal")

LOGGER = logging.getLogger("langchain_tokens")


class Warnings:
    """Log each kind of trouble once, so that a broken part does not flood the host's log.

    There is no lock that a fork could leave locked in the child, or a signal's handler wait for in vain.
    """

    def __init__(self) -> None:
        self._seen: dict[str, object] = {}
        """Each kind → whoever was the first to meet it."""

    def once(self, kind: str, message: str, error: BaseException | None = None, said: Iterable[Any] = ()) -> None:
        """Warn if this kind of trouble is new.

        Args:
            kind: what is warned of once.
            message: what to say.
            error: what happened, said without keys.
            said: messages, inputs and answers that were at hand, which the error may quote.

        """
        me = object()
        if self._seen.setdefault(kind, me) is me:  # one step, of which two threads cannot both be the first
            reason = "" if error is None else f" ({type(error).__name__}: {error_text(error, said)})"
            LOGGER.warning("%s%s", message, reason)


def may_be_a_signal(error: BaseException) -> bool:
    """Tell whether the host may be about to end, as by Ctrl+C: Python raises that in the main thread alone."""
    return not isinstance(error, Exception) and threading.current_thread() is threading.main_thread()
