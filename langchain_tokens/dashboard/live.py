"""Has something changed while somebody looks? One thread asks the database, and tells every open page."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from langchain_tokens.errors import StoreError
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.watching import Watch, make_watch
from langchain_tokens.trouble import LOGGER

__all__ = ("Live", "Pace")

_PAUSE_SECONDS = 2.0
"""How long a database that does not answer is left alone."""
_LEAST_GAP_SECONDS = 0.4
"""Between two times that pages are told: each of them asks for all of its numbers then."""
READY, CHANGED = '{"type":"ready"}', '{"type":"changed"}'


class Pace:
    """When is it time to tell? At once, but for changes that follow each other fast: those are told together.

    All pages hear of them in the same moment, so that they ask the same while the answer still is the same.
    """

    def __init__(self, least_gap: float = _LEAST_GAP_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._least_gap, self._clock = least_gap, clock
        self._has_news = False
        self._told_at = float("-inf")

    def mark(self) -> None:
        """Something has changed."""
        self._has_news = True

    def is_time(self) -> bool:
        """Whether to tell now; what has changed is told by that."""
        if not self._has_news or self._clock() - self._told_at < self._least_gap:
            return False
        self._has_news, self._told_at = False, self._clock()
        return True


class _Viewer:
    """One open page, told from the watching thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.changed = asyncio.Event()

    def tell(self, event: asyncio.Event) -> None:
        """Wake the page's own task; a loop that has ended has nobody to wake."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(event.set)


class Live:
    """Tells open pages that they are out of date. The database is watched only while there are any."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._viewers: set[_Viewer] = set()
        self._stop: threading.Event | None = None
        self._is_looking = False

    async def serve(self, socket: WebSocket) -> None:
        """Serve one page for as long as it is open: `ready` once changes are seen, `changed` for those that are."""
        await socket.accept()
        viewer = self._join()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_changes, socket, viewer)
                await _wait_for_end(socket)
                tasks.cancel_scope.cancel()
        finally:
            self._leave(viewer)

    def _join(self) -> _Viewer:
        viewer = _Viewer()
        with self._lock:
            self._viewers.add(viewer)
            if self._stop is None:
                self._stop, self._is_looking = threading.Event(), False
                threading.Thread(target=self._watch, args=(self._stop,), name="tokens-watch", daemon=True).start()
            elif self._is_looking:
                viewer.ready.set()
        return viewer

    def _leave(self, viewer: _Viewer) -> None:
        with self._lock:
            self._viewers.discard(viewer)
            if not self._viewers and self._stop is not None:
                self._stop.set()
                self._stop = None

    def _watch(self, stop: threading.Event) -> None:
        watch, pace = make_watch(self._store), Pace()
        try:
            while not stop.is_set():
                pause = self._look(watch, pace)
                self._say_ready(stop)
                stop.wait(pause)
        finally:
            watch.close()

    def _look(self, watch: Watch, pace: Pace) -> float:
        try:
            if watch.has_changed():
                pace.mark()
        except StoreError as error:
            LOGGER.warning("the dashboard cannot see changes at the moment (%s)", error)
            pace.mark()  # whoever was told of the trouble looks again when it is over
            return _PAUSE_SECONDS
        if pace.is_time():
            self._tell_all()
        return watch.interval_seconds

    def _say_ready(self, stop: threading.Event) -> None:
        with self._lock:
            if self._is_looking or self._stop is not stop:
                return
            self._is_looking = True
            for viewer in self._viewers:
                viewer.tell(viewer.ready)

    def _tell_all(self) -> None:
        with self._lock:
            for viewer in self._viewers:
                viewer.tell(viewer.changed)


async def _send_changes(socket: WebSocket, viewer: _Viewer) -> None:
    try:
        await viewer.ready.wait()
        await socket.send_text(READY)
        while True:
            await viewer.changed.wait()
            viewer.changed.clear()
            await socket.send_text(CHANGED)
    except WebSocketDisconnect:  # it went in this moment; whoever waits for its end sees that, too
        return


async def _wait_for_end(socket: WebSocket) -> None:
    """What a page says is not listened to; only that it goes."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
