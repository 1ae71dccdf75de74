"""How do alerts get out? Through one daemon thread with a bounded queue: neither the host nor the writer waits."""

from __future__ import annotations

import threading
from collections import deque

from langchain_tokens.budgets import Alert
from langchain_tokens.masking import error_text
from langchain_tokens.trouble import LOGGER, Warnings

__all__ = ("Alerts",)

_MOST_WAITING = 1_000
_IDLE_SECONDS = 1.0


class Alerts:
    """Tells alerts: the log, and whom their budgets name. Thread-safe; the thread ends when there is nothing to do."""

    def __init__(self) -> None:
        self._warnings = Warnings()
        self._begin()

    def tell(self, alert: Alert) -> None:
        """Log an alert, and hand it over to the thread for all others."""
        LOGGER.warning("%s", alert.text)
        if not alert.budget.told:
            return
        with self._changed:
            if len(self._waiting) >= _MOST_WAITING:
                self.dropped += 1
                self._warnings.once("full", "too many alerts wait to be told; newer ones are only logged")
                return
            self._waiting.append(alert)
            self._open += 1
            self._changed.notify_all()
            self._start()

    def wait(self, timeout: float) -> bool:
        """Wait until all are told, some seconds at most; tells whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    def forget_after_fork(self) -> None:
        """In a forked child: what waits is the parent's to tell."""
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Alert] = deque()
        self._open = 0
        """Alerts that wait or are being told."""
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def _start(self) -> None:
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="langchain_tokens-alerts", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # at the end of the interpreter
            self._thread, self._open = None, 0
            self._warnings.once("thread", "no thread can be started for alerts; they are only logged", error)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting, _IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return
                alert = self._waiting.popleft()
            try:
                self._deliver(alert)
            finally:
                with self._changed:
                    self._open -= 1
                    self._changed.notify_all()

    def _deliver(self, alert: Alert) -> None:
        for target in alert.budget.told:
            try:
                target(alert)
            except BaseException as error:  # noqa: BLE001  # a callable may do anything, even exit; others are told
                kind = type(error).__name__
                self._warnings.once(f"{id(target)} {kind}", f"an alert could not be told ({kind}: {error_text(error)})")
