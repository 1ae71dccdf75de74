"""How is the dashboard served? By uvicorn, on a port that is asked for before anything else is done."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from langchain_tokens.errors import DashboardError

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn
    from fastapi import FastAPI

__all__ = ("bind", "is_loopback", "make_server", "page_url", "serve")

_BACKLOG = 128
_LONGEST_MESSAGE = 1024
"""Bytes of a message by WebSocket; nobody has anything to say there."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host's name or address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return False


def bind(host: str, port: int) -> socket.socket:
    """Take a port, before a browser is sent there.

    Args:
        host: a name or an address of this machine.
        port: 0 takes any that is free.

    Raises:
        DashboardError: for a port that is in use, or a host that is none of this machine's.

    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DashboardError(f"{host!r} is no address of this machine: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise DashboardError(
            f"port {port} of {host} cannot be had ({error.strerror or error}); --port 0 takes one that is free"
        ) from error
    return listener


def page_url(listener: socket.socket, host: str) -> str:
    """Where a browser on this machine finds the page."""
    port = listener.getsockname()[1]
    bare = host.strip("[]")
    everywhere = bare in ("0.0.0.0", "::", "")  # noqa: S104  # it is only compared with
    name = "127.0.0.1" if everywhere else f"[{bare}]" if ":" in bare else bare
    return f"http://{name}:{port}/"


def serve(app: FastAPI, listener: socket.socket, *, started: Callable[[], None], root_path: str = "") -> None:
    """Serve until Ctrl-C; open pages do not hold it up, and what is asked for is not logged.

    Args:
        app: what `create_app` made.
        listener: what `bind` gave.
        started: called once requests are answered.
        root_path: the path under which a proxy offers it.

    """
    with closing(listener), suppress(KeyboardInterrupt):
        make_server(app, started=started, root_path=root_path).run(sockets=[listener])


def make_server(app: FastAPI, *, started: Callable[[], None], root_path: str = "") -> uvicorn.Server:
    """The server of `serve`; it ends when its `should_exit` is set."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=_LONGEST_MESSAGE,
        timeout_graceful_shutdown=1,
        server_header=False,
        root_path=root_path,
    )
    return Server(config)
