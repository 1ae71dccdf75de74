"""Who bounds requests? One estimator for the process, whose tokenizer's table is loaded aside when it is of use."""

from __future__ import annotations

import threading
from contextlib import suppress

from langchain_tokens.estimate import Estimator
from langchain_tokens.refining import make_estimator
from langchain_tokens.trouble import Warnings

__all__ = ("Bounding",)


class Bounding:
    """The estimator, shared by all handlers: a table takes a quarter of a second to load, and 80 MB of memory."""

    def __init__(self) -> None:
        self._warnings = Warnings()
        self.estimator: Estimator = make_estimator(self._warnings)
        self._is_loading = False

    def load(self, model: str | None, provider: str | None) -> None:
        """Load the table for a model, once, in a thread of its own; until then bounds go by bytes."""
        if self._is_loading:
            return
        self._is_loading = True
        names = (model, provider)
        thread = threading.Thread(target=self._load, args=names, name="langchain_tokens-table", daemon=True)
        with suppress(RuntimeError):  # at the end of the interpreter there is no thread to be had, and no need of one
            thread.start()

    def _load(self, model: str | None, provider: str | None) -> None:
        try:
            self.estimator.load(model, provider)
        except Exception as error:  # noqa: BLE001  # bounds then go by bytes
            self._warnings.once("table", "no tokenizer's table for budgets; bounds go by bytes", error)

    def forget_after_fork(self) -> None:
        """In a forked child: a table that the parent was just loading is not there, and its lock may be held."""
        self.estimator = make_estimator(Warnings())
        self._is_loading = False
