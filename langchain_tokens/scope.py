"""What is it called? `track` names a block of code, `attach` and `label` name runnables."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.runnables import Runnable
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from langchain_core.utils.uuid import uuid7

from langchain_tokens.call import RunFact
from langchain_tokens.handler import TokenUsageHandler
from langchain_tokens.masking import error_text
from langchain_tokens.names import CURRENT_SCOPE, METADATA_KEYS, Names, Scope
from langchain_tokens.roots import run_status
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("attach", "label", "track")

_CAPTURING: ContextVar[TokenUsageHandler | None] = ContextVar("langchain_tokens_capturing", default=None)
"""The handler that catches calls inside a `track()` which have no handler of ours in their callbacks."""


@contextmanager
def track(
    store: str | Path | UsageStore | None = None,
    *,
    session: str | None = None,
    run: str | UUID | None = None,
    mode: str | None = None,
    agent: str | None = None,
    chain: str | None = None,
    user: str | None = None,
    tags: Mapping[str, str] | None = None,
    attempt: int | None = None,
    error: str | BaseException | None = None,
) -> Iterator[Run]:
    """Name everything that happens inside the block, and catch the calls in it that no handler would catch.

    Names reach across tasks, and threads that are started with a copied context. Nested blocks: inner names win, and
    the calls belong to the outer block's run, unless the inner one names a run of its own. Inside a LangChain run the
    block only names; the run is LangChain's.

    Args:
        store: where calls go that have no `TokenUsageHandler` in their callbacks; as for `TokenUsageHandler`.
        session: the session; so for `mode`, `agent`, `chain`, `user` and `tags`.
        run: the run's name, or its id as a UUID.
        attempt: the how-many-eth try the calls inside are.
        error: the error that made this attempt necessary.

    Yields:
        The live run: each read shows what is known then.

    Raises:
        StoreError: when the store's URL is wrong or its file is not a database.

    """
    outer = CURRENT_SCOPE.get()
    said = None if error is None else error_text(error)
    names = _joined(
        outer.names if outer is not None else Names(),
        Names(
            chain=chain,
            agent=agent,
            mode=mode,
            session=session,
            user=user,
            attempt=None if attempt is None else str(attempt),
            error=said,
            tags=dict(tags or {}),
        ),
    )
    enclosing = None if run is not None else _enclosing_run()
    if enclosing is not None:
        with _entered(CURRENT_SCOPE, Scope(names=names, log=None, run_id=enclosing.run_id)):
            yield enclosing
        return
    continues = run is None and outer is not None and outer.log is not None
    log = outer.log if continues and outer is not None else None
    if log is not None:
        with _entered(CURRENT_SCOPE, Scope(names=names, log=log)):
            yield Run(log)
        return
    log = RunLog(_fact(run, names))
    capturing = _CAPTURING.get() if store is None else None
    _register_once()
    with (
        _entered(CURRENT_SCOPE, Scope(names=names, log=log)),
        _entered(_CAPTURING, capturing or TokenUsageHandler(store)),
        _ended(log),
    ):
        yield Run(log)


def attach(
    runnable: Runnable[Any, Any],
    handler: TokenUsageHandler | None = None,
    *,
    agents: Mapping[str, str] | None = None,
    mode: str | None = None,
) -> Runnable[Any, Any]:
    """Bind a handler to a graph or chain, so that nobody has to pass it.

    Args:
        runnable: a compiled graph, or any runnable.
        handler: None makes one on the default store.
        agents: node name → agent name, for the nodes of this graph.
        mode: the application's way of working, for every call in it.

    Returns:
        The same kind of runnable with the handler in its config.

    """
    metadata: dict[str, Any] = {}
    if agents is not None:
        metadata["tokens_agents"] = dict(agents)
    if mode is not None:
        metadata[METADATA_KEYS["mode"]] = mode
    return runnable.with_config(callbacks=[handler or TokenUsageHandler()], metadata=metadata)


def label(
    runnable: Runnable[Any, Any], *, chain: str | None = None, agent: str | None = None, mode: str | None = None
) -> Runnable[Any, Any]:
    """Name one runnable for good: its calls belong to this chain, agent or mode wherever it is used."""
    named = {"chain": chain, "agent": agent, "mode": mode}
    metadata = {METADATA_KEYS[name]: value for name, value in named.items() if value is not None}
    return runnable.with_config(metadata=metadata)


@functools.cache
def _register_once() -> None:
    """One hook for the process: LangChain never lets go of one. It adds our handler only where none is."""
    register_configure_hook(_CAPTURING, inheritable=True, handle_class=TokenUsageHandler)


@contextmanager
def _entered(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    before = variable.get()
    token: Token[Any] = variable.set(value)
    try:
        yield
    finally:
        try:
            variable.reset(token)
        except ValueError:  # the block ends in another context than it began in, as in an asynchronous generator
            variable.set(before)


@contextmanager
def _ended(log: RunLog) -> Iterator[None]:
    """Note how the block ended, and tell the stores that took its calls."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        status = run_status(error)
        failed = error is not None and status == "error"
        log.fact = replace(
            log.fact,
            ended_at=datetime.now(UTC),
            status=status,
            error_type=type(error).__name__ if failed else None,
            error_message=error_text(error) if failed and error is not None else None,
        )
        for recorder in tuple(log.recorders):
            recorder.record(log.fact)


def _enclosing_run() -> Run | None:
    """The run of the LangChain code that this block stands in, where one of our handlers sees it."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    manager = config.get("callbacks")
    parent = getattr(manager, "parent_run_id", None)
    for handler in getattr(manager, "handlers", None) or ():
        if isinstance(handler, TokenUsageHandler) and parent is not None:
            return handler.enclosing_run(parent)
    return None


def _fact(run: str | UUID | None, names: Names) -> RunFact:
    run_id, name = _id_and_name(run)
    return RunFact(
        run_id=run_id,
        name=name,
        session=names.session,
        mode=names.mode,
        user=names.user,
        tags=names.tags,
        started_at=datetime.now(UTC),
    )


def _id_and_name(run: str | UUID | None) -> tuple[str, str | None]:
    if isinstance(run, UUID):
        return str(run), None
    try:
        return str(UUID(run or "")), None
    except ValueError:
        return str(uuid7()), run or None


def _joined(outer: Names, inner: Names) -> Names:
    return Names(**{**outer.given(), **inner.given()}, tags={**outer.tags, **inner.tags})
