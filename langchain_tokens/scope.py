"""What is it called? `track` names a block of code, `attach` and `label` name runnables."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from langchain_core.utils.uuid import uuid7

from langchain_tokens.blocks import Block
from langchain_tokens.budgets import Budget, checked_budgets
from langchain_tokens.call import RunFact, bounded_fact
from langchain_tokens.ends import ended, entered, seen
from langchain_tokens.errors import TokensError
from langchain_tokens.handler import TokenUsageHandler
from langchain_tokens.masking import error_text
from langchain_tokens.names import (
    CURRENT_SCOPE,
    METADATA_KEYS,
    Names,
    Scope,
    checked_name,
    checked_text,
    label_metadata,
)
from langchain_tokens.registry import REGISTRY
from langchain_tokens.run import Run
from langchain_tokens.runlog import KEPT_SAID, RunLog

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("attach", "capturing", "label", "register_everywhere", "register_once", "track")

_MOST_ATTEMPTS = 2**31 - 1
"""What the store's column for it holds."""
_CAPTURING: ContextVar[TokenUsageHandler | None] = ContextVar("langchain_tokens_capturing", default=None)
"""The handler that catches calls inside a `track()` which have no handler of ours in their callbacks."""


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
    budgets: Sequence[Budget] = (),
) -> Block[Run]:
    """Name everything that happens inside the block, and catch the calls in it that no handler would catch.

    `with` and `async with` open it. As a decorator it opens a block of its own around each call of a function, also of
    an asynchronous one, and around each generator from its first item to its last; who reads that is not in the block.

    Names reach across tasks, and threads that are started with a copied context. Nested blocks: inner names win, and
    the calls belong to the outer block's run, unless the inner one names a run of its own. Inside a LangChain run the
    block only names; the run is LangChain's.

    A stream that is begun in the block is caught in full, also if it is finished after it. One that is only made in the
    block is not, since LangChain asks who listens when the first piece is asked for: take that inside, or pass a
    handler, as in `model.stream(text, {"callbacks": [handler]})` or `attach(graph, handler).stream(...)`.

    Args:
        store: where calls go that have no `TokenUsageHandler` in their callbacks; as for `TokenUsageHandler`.
        session: the session; so for `mode`, `agent`, `chain`, `user` and `tags`.
        run: the run's name, or its id as a UUID; inside a LangChain run, which has its own, neither counts.
        attempt: the how-many-eth try the calls inside are, from 1 on.
        error: the error that made this attempt necessary.
        budgets: limits for the calls inside, with those of blocks around. What counts is all that the store has of a
            budget's account, not only what is spent inside.

    Returns:
        The block, which gives the live run: each read shows what is known then.

    Raises:
        StoreError: when the store's URL is wrong or its file is not a database.
        BudgetError: for anything but budgets in `budgets`.
        TokensError: for a name, number or tag that cannot be.

    """

    def opening() -> AbstractContextManager[Run]:
        _check_block(store, run, attempt, error)
        limits = checked_budgets(budgets)
        names = Names(
            chain=chain,
            agent=agent,
            mode=mode,
            session=session,
            user=user,
            attempt=None if attempt is None else str(attempt),
            error=None if error is None else error_text(error),
            tags={} if tags is None else tags,
        )
        return _opened(store, run, names, limits)

    return Block(opening, (CURRENT_SCOPE, _CAPTURING))


@contextmanager
def _opened(
    store: str | Path | UsageStore | None, run: str | UUID | None, given: Names, budgets: tuple[Budget, ...]
) -> Iterator[Run]:
    outer = CURRENT_SCOPE.get()
    limits = _joined_budgets(outer, budgets)
    names = _joined(outer.names if outer is not None else Names(), given)
    enclosing = _enclosing_run()
    if enclosing is not None:
        with entered(CURRENT_SCOPE, Scope(names=names, log=None, run_id=enclosing.run_id, **limits)):
            yield enclosing
        return
    register_once()
    catching = (_CAPTURING.get() if store is None else None) or TokenUsageHandler(store)
    continued = outer.log if run is None and outer is not None else None
    # A new run begins here, and not before: a handler that is made loads prices.
    clock = time.perf_counter()  # before the run's own moment, so that no call in the block ends after it
    log = _begun(run, names) if continued is None else continued
    scope = Scope(names=names, log=log, **limits)
    with (
        entered(CURRENT_SCOPE, scope),
        entered(_CAPTURING, catching),
        ended(log, clock) if continued is None else nullcontext(),
        seen(scope, log),
    ):
        yield Run(log)


@contextmanager
def capturing(handler: TokenUsageHandler) -> Iterator[None]:
    """Let one handler catch what the `track()` blocks inside catch, in place of one made for each of them."""
    register_once()
    with entered(_CAPTURING, handler):
        yield


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
        agents: node name → agent name, for the nodes of this graph, or of a graph that a chain or function holds; the
            nodes of graphs in those nodes are not meant.
        mode: the application's way of working, for every call in it.

    Returns:
        The same kind of runnable with the handler in its config.

    Raises:
        TokensError: for anything but a runnable, a handler and names; and for a node that the graph does not have,
            where it can be seen: what graphs a chain or function holds cannot.

    """
    _check_runnable(runnable)
    found: object = handler
    if found is not None and not isinstance(found, TokenUsageHandler):
        raise TokensError(
            f"handler={found!r} is a {type(found).__name__}; expected a TokenUsageHandler: TokenUsageHandler(store)"
        )
    metadata: dict[str, Any] = {}
    if agents is not None:
        metadata["tokens_agents"] = _checked_agents(agents, _nodes(runnable))
    if (named := checked_name("mode", mode)) is not None:
        metadata[METADATA_KEYS["mode"]] = named
    bound = runnable.with_config(callbacks=[handler or TokenUsageHandler()])
    return _labelled(bound, metadata) if metadata else bound


def label(
    runnable: Runnable[Any, Any], *, chain: str | None = None, agent: str | None = None, mode: str | None = None
) -> Runnable[Any, Any]:
    """Name one runnable for good: its calls belong to this chain, agent or mode wherever it is used.

    What the call's own config says wins. A graph remains one; with LangGraph before 1.2.5 its label is lost where
    a config is passed to it, as it is to a node.

    Raises:
        TokensError: for anything but a runnable and at least one name.

    """
    _check_runnable(runnable)
    given = {"chain": chain, "agent": agent, "mode": mode}
    named = {name: text for name, value in given.items() if (text := checked_name(name, value)) is not None}
    if not named:
        raise TokensError("a label without a name; expected at least one of chain, agent and mode")
    return _labelled(runnable, {METADATA_KEYS[name]: text for name, text in named.items()})


@functools.cache
def register_once() -> None:
    """One hook for the process: LangChain never lets go of one. It adds our handler only where none is."""
    register_configure_hook(_CAPTURING, inheritable=True, handle_class=TokenUsageHandler)


@functools.cache
def register_everywhere() -> None:
    """The same for all calls of the process that no handler of ours would catch, while `$LANGCHAIN_TOKENS` is set."""
    nowhere: ContextVar[Any] = ContextVar("langchain_tokens_everywhere", default=None)
    made: Any = _Everywhere
    register_configure_hook(nowhere, inheritable=True, handle_class=made, env_var="LANGCHAIN_TOKENS")


class _OneForAll(type):
    """LangChain makes a handler at each start of a run, to see whether there is one of its kind: it gets the same."""

    def __call__(cls) -> BaseCallbackHandler:
        return _CAPTURING.get() or _handler_of_the_process()

    def __instancecheck__(cls, handler: object) -> bool:
        return isinstance(handler, TokenUsageHandler)


class _Everywhere(metaclass=_OneForAll):
    """What LangChain takes for the handler's class."""


@functools.cache
def _handler_of_the_process() -> BaseCallbackHandler:
    """On the default store; where that cannot be opened one that does nothing, since nobody asked in code."""
    try:
        return TokenUsageHandler()
    except Exception as error:  # noqa: BLE001  # the host's run must go on
        REGISTRY.warnings.once("everywhere", "LANGCHAIN_TOKENS is set, and nothing can be tracked", error)
        return BaseCallbackHandler()


@functools.cache
def _let_blocks_stop() -> None:
    """From now on, for all handlers: in a block with a budget that stops, hooks leave the event loop and may raise.

    Done with the first such block, since LangChain asks for both at each event, hundreds of times for a stream.
    """

    def may_raise(handler: TokenUsageHandler) -> bool:
        """Whether a hook may raise now: a budget of the handler or of the block it is in stops."""
        scope = CURRENT_SCOPE.get()
        return handler._stops or (scope is not None and scope.stops)

    TokenUsageHandler.raise_error = property(may_raise)  # type: ignore[assignment]  # LangChain only reads it
    stays = property(lambda handler: not may_raise(handler), doc="Whether hooks stay on the event loop's thread now.")
    TokenUsageHandler.run_inline = stays  # type: ignore[assignment]


def _enclosing_run() -> Run | None:
    """The run of the LangChain code that this block stands in, where one of our handlers sees it."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    manager = config.get("callbacks")
    parent = getattr(manager, "parent_run_id", None)
    for handler in getattr(manager, "handlers", None) or ():
        if isinstance(handler, TokenUsageHandler) and parent is not None:
            return handler.enclosing_run(parent)
    return None


def _check_block(store: object, run: object, attempt: object, error: object) -> None:
    if isinstance(store, TokenUsageHandler):
        raise TokensError(f"the store is a {type(store).__name__}; expected its store: track(handler.store)")
    if run is not None and not isinstance(run, (str, UUID)):
        raise TokensError(f"run={run!r} is a {type(run).__name__}; expected the run's name, or its id as a UUID")
    if attempt is not None and not (type(attempt) is int and 1 <= attempt <= _MOST_ATTEMPTS):
        raise TokensError(f"attempt={attempt!r}; expected a whole number from 1 to {_MOST_ATTEMPTS:,}")
    if error is not None and not isinstance(error, (str, BaseException)):
        raise TokensError(f"error={error!r} is a {type(error).__name__}; expected an exception or text")


def _check_runnable(runnable: object) -> None:
    if isinstance(runnable, Runnable):
        return
    hint = "compile() it first" if hasattr(runnable, "compile") else "RunnableLambda(function) makes one of a function"
    raise TokensError(f"a {type(runnable).__name__} is no runnable: expected a graph, chain or model; {hint}")


def _checked_agents(agents: object, nodes: Collection[str] | None) -> dict[str, str]:
    if not isinstance(agents, Mapping):
        raise TokensError(f"agents={agents!r} is a {type(agents).__name__}; expected node name → agent name")
    named = {checked_text("a node in agents", node): agents[node] for node in agents}
    unknown = sorted(named.keys() - set(nodes)) if nodes is not None else []
    if nodes is not None and unknown:
        raise TokensError(f"agents names {', '.join(unknown)}; the nodes of this graph are {', '.join(sorted(nodes))}")
    return {node: checked_text(f"agents[{node!r}]", agent) for node, agent in named.items()}


def _labelled(runnable: Runnable[Any, Any], named: Mapping[str, Any]) -> Runnable[Any, Any]:
    """Bind metadata that names of runs around do not replace; a graph remains one, and its label tells what is so."""
    before = (getattr(runnable, "config", None) or {}).get("metadata") or {}
    names = label_metadata(named, before)
    bound = runnable.with_config(metadata={**before, **names})  # a binding would drop the metadata that it has
    if not isinstance(bound, RunnableBinding):
        return bound
    return bound.model_copy(update={"config_factories": [*bound.config_factories, _kept_below(names)]})


def _kept_below(names: Mapping[str, Any]) -> Callable[[RunnableConfig], RunnableConfig]:
    """What makes the last part of a call's config: the names, unless the call's own config says others. What it has
    from the run around it is further away than the label.
    """

    def keep(config: RunnableConfig) -> RunnableConfig:
        said: Mapping[str, Any] = config.get("metadata") or {}
        manager: Any = config.get("callbacks")
        kinds = ("metadata", "inheritable_metadata")  # where older versions of LangChain keep it, and newer ones
        around = {key: value for kind in kinds for key, value in (getattr(manager, kind, None) or {}).items()}
        return {
            "metadata": {key: name for key, name in names.items() if key not in said or said[key] == around.get(key)}
        }

    return keep


def _nodes(runnable: Any) -> Collection[str] | None:
    """The names of a graph's nodes, also under what was bound to it; None where there is no graph to be seen."""
    while not isinstance(getattr(runnable, "nodes", None), Mapping):
        runnable = getattr(runnable, "bound", None)
        if runnable is None:
            return None
    return [node for node in runnable.nodes if node != "__start__"]


def _begun(run: str | UUID | None, names: Names) -> RunLog:
    """A run that begins now."""
    log = RunLog(_fact(run, names))
    log.lately = deque(maxlen=KEPT_SAID)
    return log


def _fact(run: str | UUID | None, names: Names) -> RunFact:
    run_id, name = _id_and_name(run)
    fact = RunFact(
        run_id=run_id,
        name=name,
        session=names.session,
        mode=names.mode,
        user=names.user,
        tags=names.tags,
        started_at=datetime.now(UTC),
    )
    return bounded_fact(fact)


def _id_and_name(run: str | UUID | None) -> tuple[str, str | None]:
    if isinstance(run, UUID):
        return str(run), None
    try:
        return str(UUID(run or "")), None
    except ValueError:
        return str(uuid7()), run or None


def _joined_budgets(outer: Scope | None, inner: tuple[Budget, ...]) -> dict[str, Any]:
    """The budgets of a block, as its scope has them."""
    both = (*(() if outer is None else outer.budgets), *inner)
    stops = any(budget.stops for budget in both)
    if inner:
        from langchain_tokens import gate  # noqa: F401  # loaded now, since a hook must not import
    if stops:
        _let_blocks_stop()
    return {"budgets": both, "stops": stops} if both else {}


def _joined(outer: Names, inner: Names) -> Names:
    return Names(**{**outer.given(), **inner.given()}, tags={**outer.tags, **inner.tags})
