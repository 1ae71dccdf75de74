"""Who asks the database whether calls may be made? One thread for each store and process, several questions at a time.

A hook waits for the answer for some seconds at most; when none comes, this process decides by what it knows: what the
accounts held when they were last read, and what its own calls may have needed since. The thread also renews what calls
that go on hold, so that only the reservations of ended processes lapse. It ends when there is nothing to do.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_tokens.errors import StoreError, TokensError
from langchain_tokens.learned import Learned
from langchain_tokens.store.engine import RowError, writing
from langchain_tokens.store.ledger import (
    Refusal,
    Request,
    database_time,
    raise_reservation,
    record,
    release,
    renew,
    reserve,
)
from langchain_tokens.trouble import Warnings

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("WAIT_SECONDS", "Ledger")

WAIT_SECONDS = 10.0
"""How long a hook waits for the database: long enough for a machine with far too much to do, where to decide alone
would let calls through that others have used the room of."""
_WAIT_WHILE_AWAY_SECONDS = 0.5
"""The same, after it did not answer in time, until it does."""
LEASE_SECONDS = 120.0
"""How long a reservation holds that nobody renews; more than it takes until a dead process's journal is delivered."""
_RENEW_SECONDS = 30.0
_LONGEST_CALL_SECONDS = 1_800.0
"""After which a call is renewed no more: its end was never reported, as of tasks that were cancelled."""
_IDLE_SECONDS = 1.0
_AWAY = "the database does not say whether budgets allow calls"
_BATCH = 200
_KNOWN = 4_096
Result = TypeVar("Result")


class Ledger:
    """Reserves for calls. Thread-safe."""

    _lock: threading.RLock
    _queue: queue.SimpleQueue[_Question | _Job | None]
    _thread: threading.Thread | None
    _held: dict[str, tuple[float, Request]]
    """Calls that hold a reservation → when they began, in the monotonic clock's seconds, and what they need."""
    _known: OrderedDict[str, int]
    """Account → what of it was used, as far as this process knows."""
    _is_away: bool
    """The database did not answer in time, and has not since."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self.warnings = Warnings()
        self.learned = Learned()
        self.told: dict[tuple[str, str], None] = {}
        """Accounts and marks that are known to be told; for the writer thread alone."""
        self._begin()

    def ask(self, request: Request, timeout: float = WAIT_SECONDS) -> Refusal | None:
        """Reserve what a call needs; waits some seconds at most. Returns why it must not be made, if so."""
        question = _Question(request)
        self._put(question)
        is_answered = question.done.wait(self._patience(timeout))
        with self._lock:
            if not is_answered and not question.done.is_set():
                question.is_abandoned = True
                self._is_away = True
        if not question.is_abandoned and question.failure is None:
            return question.refusal
        refusal = self._decide_alone(request, question.failure)
        if refusal is None:  # so that others see it as soon as the database answers again
            self._put(_Job(lambda connection: record(connection, request, timedelta(seconds=LEASE_SECONDS))))
            with self._lock:
                self._held[request.call.call_id] = (time.monotonic(), request)
        return refusal

    def warm_up(self) -> None:
        """Open the database aside, before the first call asks."""
        self._put(_Job(database_time))

    def release(self, call_id: str) -> None:
        """Let a reservation go whose call will have no record."""
        with self._lock:
            is_held = self._held.pop(call_id, None) is not None
        if is_held:
            self._put(_Job(lambda connection: release(connection, [call_id])))

    def note_end(self, call_id: str, tokens: int, price: Callable[[], int | None]) -> None:
        """A call has ended that is not stored yet: where it used more than was reserved for it, reserve that."""
        held = self._held.get(call_id)
        if held is not None and tokens > held[1].tokens:
            self._put(_Job(lambda connection: raise_reservation(connection, call_id, tokens, price())))

    def read(self, work: Callable[[Any], Result], timeout: float) -> Result | None:
        """Read something else; None when the database does not answer in time."""
        job = _Job(work)
        self._put(job)
        is_done = job.done.wait(self._patience(timeout))
        return None if not is_done or isinstance(job.result, Exception) else job.result

    def note_stored(self, call_ids: Sequence[str]) -> None:
        """Calls were stored, and their reservations went with that."""
        if self._held:
            with self._lock:
                for call_id in call_ids:
                    self._held.pop(call_id, None)

    @property
    def held(self) -> int:
        """How many calls of this process hold a reservation."""
        return len(self._held)

    def close(self, timeout: float = _IDLE_SECONDS) -> None:
        """End the thread, unless the database holds it up; a later question begins another."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._queue.put(None)
            thread.join(timeout)

    def forget_after_fork(self) -> None:
        """In a forked child: what is reserved belongs to the parent."""
        self.learned = Learned()
        self._begin()

    def _patience(self, timeout: float) -> float:
        """How long to wait for the database, in seconds."""
        return min(timeout, _WAIT_WHILE_AWAY_SECONDS) if self._is_away else timeout

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._queue = queue.SimpleQueue()
        self._thread = None
        self._held = {}
        self._known = OrderedDict()
        self._is_away = False
        self._renew_at = 0.0
        self._process = os.getpid()
        self.process = f"{socket.gethostname()}:{self._process}"

    def _put(self, item: _Question | _Job) -> None:
        if self._process != os.getpid():  # a server forked outside Python, whose hooks for that did not run
            self.forget_after_fork()
        with self._lock:
            self._queue.put(item)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="langchain_tokens-ledger", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # at the end of the interpreter; then nobody answers, and the process decides
                    self._thread = None
                    self._is_away = True

    def _work(self) -> None:
        me = threading.current_thread()
        while self._thread is me:
            try:
                self._take_turn()
            except Exception as error:  # noqa: BLE001  # no slip may end the thread while calls wait for it
                self.warnings.once("ledger", "the thread that asks for budgets stumbled, and goes on", error)

    def _take_turn(self) -> None:
        batch = self._next_batch()
        for item in batch:
            if isinstance(item, _Job):
                item.result = self._try(item.work)
                item.done.set()
        questions = [item for item in batch if isinstance(item, _Question) and not item.is_abandoned]
        if questions:
            self._answer(questions)
        late = [question.request.call.call_id for question in questions if self._is_late(question)]
        if late:
            self._try(lambda connection: release(connection, late))
        self._renew_in_time()
        with self._lock:
            if not batch and not self._held and self._queue.empty() and self._thread is threading.current_thread():
                self._thread = None  # a later question begins another

    def _next_batch(self) -> list[_Question | _Job]:
        items: list[_Question | _Job | None] = []
        try:
            items.append(self._queue.get(timeout=_IDLE_SECONDS))
            while len(items) < _BATCH:
                items.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return [item for item in items if item is not None]

    def _answer(self, questions: Sequence[_Question]) -> None:
        """Ask for all of them in one transaction."""
        requests = [question.request for question in questions]
        found = self._try(lambda connection: reserve(connection, requests, timedelta(seconds=LEASE_SECONDS)))
        if _is_ours(found) and len(questions) > 1:  # one of them is at fault; the others are not to suffer
            for question in questions:
                self._answer([question])
            return
        with self._lock:
            for number, question in enumerate(questions):
                if isinstance(found, Exception):
                    question.failure = found
                else:
                    question.refusal = found.refusals[number]
                    if question.refusal is None and not question.is_abandoned:
                        self._held[question.request.call.call_id] = (time.monotonic(), question.request)
            if not isinstance(found, Exception):
                self._is_away = False
                self._note(found.used)
            for question in questions:
                question.done.set()

    def _note(self, used: Any) -> None:
        for key, number in used.items():
            self._known[key] = number
            self._known.move_to_end(key)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _is_late(self, question: _Question) -> bool:
        """Whether a reservation was made for somebody who did not wait for it."""
        return question.is_abandoned and question.refusal is None and question.failure is None

    def _renew_in_time(self) -> None:
        now = time.monotonic()
        if now < self._renew_at or not self._held:
            return
        self._renew_at = now + _RENEW_SECONDS
        with self._lock:
            for call_id in [
                held for held, (began, _) in tuple(self._held.items()) if now - began > _LONGEST_CALL_SECONDS
            ]:
                self._held.pop(call_id, None)
            kept = tuple(self._held)
        if kept:
            self._try(lambda connection: renew(connection, kept, timedelta(seconds=LEASE_SECONDS)))

    def _try(self, work: Callable[[Any], Any]) -> Any:
        """Do something in a transaction; an error is what it returns."""
        try:
            with writing(self._store._engine(), self._store.target) as connection:
                return work(connection)
        except Exception as error:  # noqa: BLE001  # whoever waits is told, and decides
            return error

    def _decide_alone(self, request: Request, failure: Exception | None) -> Refusal | None:
        """Decide by what this process knows; what its calls may have needed since counts until the database answers."""
        reason = failure or StoreError("no answer in time")
        fault = "it cannot be asked whether budgets allow a call" if _is_ours(reason) else _AWAY
        self.warnings.once(fault, f"{fault}; this process decides by what it knows", reason)
        with self._lock:
            for account in request.accounts:
                asked, used = request.needs(account), self._known.get(account.key, 0)
                facts: dict[str, Any] = {"account": account, "spent": used, "reserved": 0, "asked": asked}
                if account.budget.if_unreachable == "stop":
                    return Refusal(reason="unreachable", **facts)
                if asked is None and account.budget.unpriced == "block":
                    return Refusal(reason="unpriced", **facts)
                if used + (asked or 0) > account.budget.limit:
                    return Refusal(reason="limit", **facts)
            for account in request.accounts:
                used = self._known.get(account.key, 0) + (request.needs(account) or 0)
                self._note({account.key: used})
        return None


def _is_ours(found: object) -> bool:
    """Whether a question itself is at fault, and not that the database is away."""
    if isinstance(found, RowError):
        return True
    return isinstance(found, Exception) and not isinstance(found, (TokensError, OSError))


class _Question:
    """A call that somebody waits to make."""

    __slots__ = ("done", "failure", "is_abandoned", "refusal", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.done = threading.Event()
        self.is_abandoned = False
        self.refusal: Refusal | None = None
        self.failure: Exception | None = None


class _Job:
    """Something else that is done with the database, for whoever may wait for it."""

    __slots__ = ("done", "result", "work")

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
