"""What does a forked child inherit of a database? Nothing that is open: connections are closed before a fork.

SQLite keeps a process's locks by file, for all its connections together, and a forked child would go by those of its
parent, which the operating system does not give it. It would see a lock that nobody holds as its own and wait for ever;
or write to a log that the parent, seeing no lock of the child's, folds into the file and deletes when it ends.
"What not to do" in https://www.sqlite.org/howtocorrupt.html (section 2.6) has it in one line: do not carry an open
database across a fork.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from langchain_tokens.living import living

__all__ = ("Gate", "before_fork")

_PATIENCE_SECONDS = 1.0
"""How long a fork waits for those who read, or who wait for a lock of another process."""
_LONG_PATIENCE_SECONDS = 30.0
"""And for those who hold SQLite's lock for writing: the child could never write."""


class Gate:
    """Who uses the connections of one engine; nobody does while the process forks. Thread-safe.

    Args:
        close: closes the connections that nobody uses.

    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self.renew()
        _gates().add(self)

    @contextmanager
    def passed(self) -> Iterator[None]:
        """A block in which a connection is used. Who is in one already is let into another."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut or me in self._inside)
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:  # in a child another one, which none of its parent's threads holds
                self._inside -= Counter({me: 1})  # drops what is no more than 0
                self._changed.notify_all()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A block within that one, in which SQLite's lock for writing is held."""
        me = threading.get_ident()
        self._writing.add(me)
        try:
            yield
        finally:
            with self._changed:
                self._writing.discard(me)
                self._changed.notify_all()

    def shut(self) -> None:
        """Before a fork: let nobody in, wait until all others are out, and close what is open."""
        with self._changed:
            me, self._is_shut = {threading.get_ident()}, True
            self._changed.wait_for(lambda: not self._inside.keys() - me, _PATIENCE_SECONDS)
            self._changed.wait_for(lambda: not self._writing - me, _LONG_PATIENCE_SECONDS)
        self._close()

    def reopen(self) -> None:
        """After a fork, in the parent."""
        with self._changed:
            self._is_shut = False
            self._changed.notify_all()

    def renew(self) -> None:
        """After a fork, in the child, which has none of the parent's other threads."""
        self._changed = threading.Condition()
        self._is_shut = False
        self._inside: Counter[int] = Counter()
        self._writing: set[int] = set()


def before_fork(let_go: Callable[[], None]) -> None:
    """Have a method called before each fork, for as long as its object lives; it closes a connection of its own."""
    _closers().append(weakref.WeakMethod(let_go))


@functools.cache
def _gates() -> weakref.WeakSet[Gate]:
    """The gates of the process, and what is done with them when it forks; begun with the first of them.

    What is registered first is called last before a fork: by then writers have ended their batches.
    """
    gates: weakref.WeakSet[Gate] = weakref.WeakSet()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: _each(gates, Gate.shut),
            after_in_parent=lambda: _each(gates, Gate.reopen),
            after_in_child=lambda: _each(gates, Gate.renew),
        )
    return gates


@functools.cache
def _closers() -> list[weakref.WeakMethod[Callable[[], None]]]:
    closers: list[weakref.WeakMethod[Callable[[], None]]] = []
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lambda: _let_go(closers))
    return closers


def _each(gates: weakref.WeakSet[Gate], act: Callable[[Gate], None]) -> None:
    for gate in living(gates):
        act(gate)


def _let_go(closers: list[weakref.WeakMethod[Callable[[], None]]]) -> None:
    closers[:] = [closer for closer in closers if closer() is not None]
    for closer in list(closers):
        if (let_go := closer()) is not None:
            let_go()
