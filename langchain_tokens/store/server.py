"""How is a PostgreSQL server reached? Through a small pool, within limits of time, and with no secret where it shows.

An engine keeps two connections at most when nothing is going on: one that the writer thread uses, opened with the first
batch, and one for whoever reads at the same time. Eight more may be opened for a moment, by readers in many threads.
What a connection waits for is limited: 5 seconds for the server's answer to its opening, a minute for a network that is
gone, and on the server what `_LIMITS` says. The URL's own words win over all of these; so does, for the limits on the
server, what the server itself says of the role or the database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, exc, make_url

from langchain_tokens.errors import MissingExtraError, StoreError
from langchain_tokens.store.target import PUBLIC_OPTIONS, StoreTarget

__all__ = ("DRIVEN", "IS_LONG", "WRITES", "make_server_engine")

DRIVEN = "tokens_driven"
"""Execution option of a statement: a function that runs it in a way of the driver's own, from its cursor and text."""
IS_LONG = "tokens_is_long"
"""Execution option of a connection: what it does may take hours, such as a migration."""
WRITES = "tokens_writes"
"""Execution option of a connection: it writes."""
_POOL: Mapping[str, Any] = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 8, "pool_use_lifo": True}
_CONNECTING: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "fallback_application_name": "langchain_tokens",
}
"""Parameters of a connection; seconds, but the last of the times: milliseconds."""
_READ_ONLY = "25006"
"""PostgreSQL's code for a write where nothing may be written."""
_LIMITS: Mapping[str, tuple[str, str]] = {
    "statement_timeout": ("5min", "30s"),
    "lock_timeout": ("10s", "10s"),
    "idle_in_transaction_session_timeout": ("60s", "60s"),
}
"""Setting of the server → what it is while we read, and while we write."""


def make_server_engine(target: StoreTarget) -> Engine:
    """Make the engine of a PostgreSQL database; opens no connection yet.

    Raises:
        MissingExtraError: without the driver.
        StoreError: for a URL that cannot be read.

    """
    try:
        url = make_url(target.url)
        engine = _create(url)
    except ImportError as error:
        raise MissingExtraError("PostgreSQL needs its driver: pip install 'langchain_tokens[postgres]'") from error
    except (exc.ArgumentError, ValueError) as error:
        kind = type(error).__name__
    else:
        reads, writes = _limits(url, 0), _limits(url, 1)
        event.listen(engine, "begin", lambda connection: _limit(connection, reads, writes))
        event.listen(engine, "do_execute", _drive)
        event.listen(engine, "handle_error", _leave_read_only)
        return engine
    raise StoreError(f"the store URL {target} cannot be read ({kind})")  # not in the handler: that error has it all


def _create(url: URL) -> Engine:
    shown = url.difference_update_query(_aside(url))
    return create_engine(shown, connect_args=_arguments(url), hide_parameters=True, **_POOL)


def _aside(url: URL) -> set[str]:
    """The options that go to the driver beside the URL: those that must not show where the library shows the URL."""
    return (set(url.query) - PUBLIC_OPTIONS) | {"prepare_threshold"}


def _arguments(url: URL) -> dict[str, Any]:
    arguments = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    if os.environ.get("PGCONNECT_TIMEOUT"):
        arguments.pop("connect_timeout", None)
    arguments |= {name: _text(url, name) for name in _aside(url) if name in url.query}
    if "prepare_threshold" in url.query:  # "none" for a pooler that does not know prepared statements
        threshold = _text(url, "prepare_threshold")
        arguments["prepare_threshold"] = None if threshold.lower() == "none" else int(threshold)
    return arguments


def _limits(url: URL, place: int) -> str | None:
    """The statement that limits a transaction, but for limits that the URL or the server sets itself."""
    said = _text(url, "options") if "options" in url.query else os.environ.get("PGOPTIONS", "")
    ours = [f"('{name}', '{limits[place]}')" for name, limits in _LIMITS.items() if name not in said]
    if not ours:
        return None
    # For the transaction only: a pooler may hand the session to others afterwards.
    return (
        f"SELECT set_config(name, value, true) FROM (VALUES {', '.join(ours)}) AS ours (name, value)"  # noqa: S608  # constants
        " WHERE current_setting(name, true) = '0'"
    )


def _text(url: URL, name: str) -> str:
    value = url.query[name]
    return value if isinstance(value, str) else " ".join(value)


def _limit(connection: Connection, reads: str | None, writes: str | None) -> None:
    options = connection.get_execution_options()
    statement = writes if options.get(WRITES) else reads
    if statement is not None and not options.get(IS_LONG):
        connection.exec_driver_sql(statement)


def _drive(cursor: Any, statement: str, _: Any, context: Any) -> bool:
    """Run a statement in a way of the driver's own, within the library's care for errors; true when this was one."""
    drive = context.execution_options.get(DRIVEN)
    if drive is not None:
        drive(cursor, statement)
    return drive is not None


def _leave_read_only(context: ExceptionContext) -> None:
    """Connect anew after a write was refused for being one: what was the first server may be a copy of another now."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True
