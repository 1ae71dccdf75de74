"""Which recorder serves this store? One for each store and process, drained at exit and begun anew after a fork."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from langchain_tokens.alerts import Alerts
from langchain_tokens.errors import StoreError
from langchain_tokens.failures import Failures
from langchain_tokens.living import living
from langchain_tokens.recorder import Recorder
from langchain_tokens.recovery import Sink, recover
from langchain_tokens.refining import Refiner, make_estimator
from langchain_tokens.runlog import RunLog
from langchain_tokens.store.target import StoreTarget, parse_target
from langchain_tokens.trouble import LOGGER, Warnings

if TYPE_CHECKING:
    from langchain_tokens.bounding import Bounding
    from langchain_tokens.ledger import Ledger
    from langchain_tokens.store.store import UsageStore

__all__ = ("REGISTRY", "Registry", "open_store")


class Watched(Protocol):
    """What has to end with the interpreter, and begin anew in a forked child."""

    def close_open_calls(self) -> None:
        """Record what has not ended."""

    def forget_after_fork(self) -> None:
        """Drop what belongs to the parent process."""

    def refuse_call(self, run_id: UUID, /) -> None:
        """Drop a call that a budget stopped before it was made."""

    @property
    def runs(self) -> Any:
        """The runs that are open."""

    @property
    def store(self) -> object:
        """What is equal for all that use one database."""


class Registry:
    """The recorders of this process, by store and journal folder."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._recorders: dict[tuple[Any, Path | None], Recorder] = {}
        self._ledgers: dict[Any, Ledger] = {}
        self.alerts = Alerts()
        self.failures = Failures()
        self.warnings = Warnings()
        """What is warned of once in the process."""
        self._watched: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._is_hooked = False
        self.observers: tuple[RunLog, ...] = ()
        """Who is told of every call, whichever handler caught it."""

    def observe(self, log: RunLog) -> None:
        """Tell a log of every call from now on."""
        with self._lock:
            self.observers = (*self.observers, log)

    def observe_no_more(self, log: RunLog) -> None:
        """Tell a log of no more calls."""
        with self._lock:
            self.observers = tuple(other for other in self.observers if other is not log)

    def watch(self, part: Watched) -> None:
        """Tell something of the interpreter's end and of every forked child, for as long as it lives."""
        self._watched.add(part)

    def recorder(self, key: object, sink: Sink, journal_folder: Path | None, *, is_synced: bool = False) -> Recorder:
        """The recorder for a store; made at the first request. Once synced, it stays so, for all that share it."""
        with self._lock:
            self._hook()
            place = (key, journal_folder)
            recorder = self._recorders.get(place)
            if recorder is None:  # set by default, since a signal's handler may make one in the middle
                recorder = self._recorders.setdefault(place, Recorder(sink, journal_folder))
            if is_synced:
                recorder.sync_always()
            return recorder

    def ledger(self, key: object, store: UsageStore) -> Ledger:
        """Who asks a store for budgets; made at the first request."""
        from langchain_tokens.ledger import Ledger

        with self._lock:
            self._hook()
            return self._ledgers.get(key) or self._ledgers.setdefault(key, Ledger(store))

    @functools.cached_property
    def bounding(self) -> Bounding:
        """Who bounds requests for budgets; made at the first request."""
        from langchain_tokens.bounding import Bounding

        return Bounding()

    def refuse_call(self, run_id: UUID) -> None:
        """Let every handler of this process know that a call is not made, though it may have seen it start."""
        for part in living(self._watched):
            part.refuse_call(run_id)

    def frame_seen(self, run_id: str, asker: Watched) -> Any:
        """A run that another handler on the same store saw begin; None where there is none."""
        for part in living(self._watched):
            if part is not asker and part.store == asker.store and (frame := part.runs.frame_seen(run_id)) is not None:
                return frame
        return None

    def drain(self) -> None:
        """Deliver what waits, at the end of the interpreter, calls that never ended among it.

        All stores share the time for that: while one is waited for, the others are written to by threads of their own.
        """
        for part in living(self._watched):
            part.close_open_calls()
        for ledger in list(self._ledgers.values()):
            ledger.close()
        end = time.monotonic() + _CLOSE_SECONDS
        for recorder in list(self._recorders.values()):
            try:
                recorder.close(max(_LEAST_SECONDS, end - time.monotonic()))
            except Exception as error:  # noqa: BLE001  # at exit there is nobody left to handle it, and the journal has it all
                LOGGER.warning("a store could not be closed at exit (%s: %s)", type(error).__name__, error)
        self.alerts.wait(_TELL_SECONDS)

    def _hook(self) -> None:
        if self._is_hooked:
            return
        self._is_hooked = True
        atexit.register(self.drain)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._pause, after_in_parent=self._resume, after_in_child=self._forget_after_fork
            )

    def _pause(self) -> None:
        for recorder in list(self._recorders.values()):
            recorder.pause()

    def _resume(self) -> None:
        with ExitStack() as stack:  # which goes on with the others where one fails
            for recorder in list(self._recorders.values()):
                stack.callback(recorder.resume)

    def _forget_after_fork(self) -> None:
        self._lock = threading.RLock()
        for recorder in list(self._recorders.values()):
            recorder.forget_after_fork()
        for ledger in list(self._ledgers.values()):
            ledger.forget_after_fork()
        self.alerts.forget_after_fork()
        if "bounding" in vars(self):
            self.bounding.forget_after_fork()
        for part in living(self._watched):
            part.forget_after_fork()
        for log in self.observers:
            log.forget_after_fork()


REGISTRY = Registry()
"""The one piece of process-wide state: two handlers on one store must share a writer thread, and exit and fork hooks
belong to the process. It is empty until a handler records."""


def open_store(url: str | Path | None = None) -> UsageStore:
    """Open a store for reading, and deliver what ended processes left in its journal. Where that cannot be done now, as
    while another process holds the lock for writing, it stays there, with a warning.

    Args:
        url: a path, `sqlite:///FILE` or `postgresql+psycopg://…`; None is `$LANGCHAIN_TOKENS_URL`, else
            `langchain_tokens.db` in the working directory. A database that does not exist yet is made, empty.

    Raises:
        StoreError: when the URL is wrong, the file is not a database, or it cannot be reached.
        SchemaError: when its schema is not the one this version needs.

    """
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.store import UsageStore

    target = parse_target(url)
    store = UsageStore(target, before_read=_own_writer(target))
    try:
        store._engine()  # opens it now, so that a wrong store is an error here and not later
    except StoreError:
        store.close()
        raise
    if target.journal_folder is not None:
        warnings = Warnings()
        try:
            recover(target.journal_folder, store, Refiner(PriceBook().price, make_estimator(warnings)), warnings)
        except (OSError, StoreError) as error:
            warnings.once("recover", "journals of ended processes could not be delivered yet", error)
    return store


def _own_writer(target: StoreTarget) -> Any:
    """Reads see what this process has recorded: let its writer finish first, for a moment."""

    def finish() -> None:
        for (key, _), recorder in list(REGISTRY._recorders.items()):
            if key == target.url:
                recorder.flush(_READ_WAIT_SECONDS)

    return finish


_CLOSE_SECONDS = 5.0
_LEAST_SECONDS = 0.2
_READ_WAIT_SECONDS = 5.0
_TELL_SECONDS = 3.0
