"""What does LangChain tell us? `TokenUsageHandler`: thin hooks inside one shield.

Each hook copies plain values, settles whose call it is, and records; it does no input or output but the journal's
append. `run_inline` keeps the hooks of asynchronous runs on the event loop's thread, where they cost least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from langchain_tokens.breakdown import Breakdown
from langchain_tokens.budgets import Budget, checked_budgets
from langchain_tokens.call import Call
from langchain_tokens.capture import Capture
from langchain_tokens.content import has_content
from langchain_tokens.doctor import Diagnosis, diagnose
from langchain_tokens.errors import TokensError, UnknownRunError
from langchain_tokens.gates import Gates
from langchain_tokens.given import Given, checked_run_id, given_call
from langchain_tokens.names import CURRENT_SCOPE, Names
from langchain_tokens.notebook import overview_html
from langchain_tokens.query import make_query
from langchain_tokens.recorder import RecorderStats, Watcher
from langchain_tokens.refining import Refiner, make_estimator
from langchain_tokens.registry import REGISTRY
from langchain_tokens.run import Run
from langchain_tokens.runlog import RunLog
from langchain_tokens.shield import check_options, shielded
from langchain_tokens.store.target import chosen_folder, parse_target
from langchain_tokens.trouble import Warnings

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.store import UsageStore

__all__ = ("TokenUsageHandler",)

_EMPTY: Mapping[str, Any] = {}


class TokenUsageHandler(BaseCallbackHandler):
    """Catch every call to a model below the chain or graph that this handler is given to.

    Thread-safe, for any number of runs at once; one for the whole process is the normal use. As a context manager it
    is closed at the end of the block.

    Args:
        store: a path, `sqlite:///FILE`, `postgresql+psycopg://…`, or a `UsageStore`; None is `$LANGCHAIN_TOKENS_URL`,
            else `langchain_tokens.db` in the working directory.
        session: the session of calls that nothing closer names; so for `mode`, `agent`, `user` and `tags`.
        mode: the application's own way of working, free text.
        agent: who makes calls that no agent makes.
        user: on whose behalf.
        tags: free keys and values for every call.
        prices: what calls cost; None prices from the bundled catalogue.
        budgets: limits, told at their marks; one with `action="stop"` refuses calls with `BudgetExceeded`, and hooks of
            asynchronous runs then leave the event loop. None: those in the file `$LANGCHAIN_TOKENS_BUDGETS`, if set.
        estimate: whether usage that nobody reports is estimated with tiktoken, in the background, and marked as
            estimated; without, it stays unknown.
        inspect_inputs: whether it is found out in the background what fills each call's input (system prompt, tools,
            history …, estimated with tiktoken), and a digest of its question kept; never text. See docs/reports.md.
        capture_content: whether the messages that are sent and the answers are stored, too, as text without bytes and
            without what looks like a secret; see docs/content.md. Without, no text of either is kept anywhere.
        journal: whether records are kept in a local file until they are stored (so that they survive a kill), or the
            folder for those files, seen from the working directory of this moment.
        durability: what records survive: the end of the `process`, however it ends; or, with `fsync`, a loss of power
            too, for which every call waits until the disk has its record, some milliseconds. Handlers on one store and
            journal share the stronger one.

    Raises:
        StoreError: when the URL is wrong or the file is not a database. A database that is away is no error: calls wait
            in the journal.
        BudgetError: for a budget, or a file of them, that cannot be.
        TokensError: for an argument of another type; names are text (or a UUID), tags map text to text.

    """

    run_inline = True

    def __init__(
        self,
        store: str | Path | UsageStore | None = None,
        *,
        session: str | None = None,
        mode: str | None = None,
        agent: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        prices: PriceBook | None = None,
        budgets: Sequence[Budget] | None = None,
        estimate: bool = True,
        inspect_inputs: bool = False,
        capture_content: bool = False,
        journal: bool | Path = True,
        durability: Literal["process", "fsync"] = "process",
    ) -> None:
        from langchain_tokens.prices import PriceBook
        from langchain_tokens.store.store import UsageStore

        if prices is not None and not isinstance(prices, PriceBook):
            raise TokensError(f"prices={prices!r} is a {type(prices).__name__}; expected a PriceBook or None")
        check_options(estimate, inspect_inputs, capture_content, journal, durability)
        limits = Budget.load() if budgets is None else checked_budgets(budgets)
        tags = {} if tags is None else tags
        defaults = Names(session=session, mode=mode, agent=agent, user=user, tags=tags)
        sink = store if isinstance(store, UsageStore) else UsageStore(parse_target(store))
        target = sink.target
        folder = chosen_folder(target, journal)
        key = sink.identity if type(sink) is UsageStore else sink
        recorder = REGISTRY.recorder(key, sink, folder, is_synced=durability == "fsync")
        book = PriceBook() if prices is None else prices
        book.load()  # now, not in the writer thread: a process that forks there would inherit held import locks
        warnings = Warnings()
        counting = make_estimator(warnings) if estimate or inspect_inputs else None
        refiner = Refiner(book.price, counting if estimate else None, counting if inspect_inputs else None)
        gates = Gates(key=key, recorder=recorder, prices=book, warnings=warnings)
        self._capture = Capture(
            *(defaults, refiner, recorder, warnings),
            open_gate=gates.open,
            gate=gates.open(limits) if limits else None,
            keeps_content=capture_content,
        )
        self._stops = any(budget.stops for budget in limits)
        self._watchers: list[Watcher] = []
        if self._stops:  # then a hook may wait for the database, and LangChain has to let a stop out
            vars(self).update(run_inline=False, raise_error=True)
        REGISTRY.watch(self._capture)
        self._store = cast("UsageStore", recorder.sink).reading_after(self._capture.finish, book)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TokenUsageHandler on {self._store!r}>"

    def _repr_html_(self) -> str:
        return overview_html(repr(self), self.breakdown)

    # What was seen

    def breakdown(self, *by: str, **filters: Any) -> Breakdown:
        """Sums by dimension over what this handler saw, exact at once; `by` and `filters` as `UsageStore.breakdown`.

        Raises:
            QueryError: for an unknown dimension or filter; and for a split by session, run, user, tag or time once runs
                have left this handler's memory, which the store answers.

        """
        return self._capture.memory.breakdown(make_query(by, filters))

    def run(self, run_id: UUID | str) -> Run:
        """One run, finished or still going on; from the store where it has left memory.

        Raises:
            UnknownRunError: when neither knows it.

        """
        held = self._capture.memory.run(str(run_id))
        if held is not None:
            return held
        stored = self._store.runs(run=str(run_id), limit=1)
        if not stored:
            raise UnknownRunError(f"no run {str(run_id)!r} in this handler or in {self._store!r}")
        return stored[0]

    def doctor(self) -> Diagnosis:
        """What the calls of the runs in memory lack (usage, prices, names), each with the line that mends it."""
        return diagnose([call for run in self.runs for call in run.calls])

    def enclosing_run(self, run_id: UUID | str) -> Run | None:
        """The live run that an open chain, tool or node belongs to; None where it is not open here."""
        return self._capture.enclosing_run(str(run_id))

    @property
    def runs(self) -> Sequence[Run]:
        """The newest runs with a call in them (1,000 are kept, 10,000 calls), newest last; older ones: the store."""
        return [self._whole(run) for run in self._capture.memory.runs()]

    @property
    def last_run(self) -> Run | None:
        """The newest run with a call in it; where several go on at once, `track()` tells which one is yours."""
        held = self._capture.memory.runs()
        return self._whole(held[-1]) if held else None

    @property
    def store(self) -> UsageStore:
        """The store, for reading; it shows all that this handler has recorded."""
        return self._store

    def _whole(self, run: Run) -> Run:
        """A run with all its calls: from the store, where the first of many have left memory."""
        if not self._capture.memory.is_rest(run.run_id):
            return run
        return next(iter(self._store.runs(run=run.run_id, limit=1)), run)

    # Recording without LangChain, and the end

    def record(
        self,
        usage: Any,
        *,
        chain: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        session: str | None = None,
        run_id: UUID | str | None = None,
        mode: str | None = None,
        status: str = "ok",
        error: str | BaseException | None = None,
        started_at: datetime | None = None,
        duration_ms: float | None = None,
        attempt: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Call:
        """Record a call that was made without LangChain, or whose result arrived as data.

        Args:
            usage: a `TokenUsage`, any provider's response, usage object or dict, or None where nothing is known.
            chain: the named step; so for `agent`, `model`, `provider`, `session` and `mode`.
            run_id: the run that the call belongs to; None is the open `track()`'s, else a run of its own. A run of
                recorded calls spans them all, and failed when one of them did; a run that goes on ends by itself.
            status: `ok`, `error`, `cancelled` or `cached`.
            error: what went wrong; with status `ok`, the error that made this attempt necessary.
            started_at: aware; None is now less the duration.
            duration_ms: milliseconds, a hundred years at most.
            attempt: the how-many-eth try, 1 to 2,147,483,647; None is 1.
            tags: free keys and values, both text.

        Returns:
            The call as recorded, priced.

        Raises:
            TokensError: for a status, time, name or number that cannot be (a count beyond 10**10, a time before 1970);
                for usage of no known shape the call is recorded without usage, flagged, and a warning logged.

        """
        given = Given(
            usage=usage,
            names=Names(chain=chain, agent=agent, session=session, mode=mode, tags={} if tags is None else tags),
            model=model,
            provider=provider,
            run_id=checked_run_id(run_id),
            status=status,
            error=error,
            started_at=started_at,
            duration_ms=duration_ms,
            attempt=attempt,
        )
        capture, scope = self._capture, CURRENT_SCOPE.get()
        call, fact = given_call(given, capture.defaults, scope, capture.warnings)
        log = scope.log if scope is not None and given.run_id is None else None
        belongs = given.run_id is None and scope is not None and (scope.log is not None or scope.run_id is not None)
        capture.note_scope(call.call_id, scope)
        capture.keep(call, None if belongs else fact, lambda: log or RunLog(fact), log)
        return capture.refine(call)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was recorded so far is in the database.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it is.

        Raises:
            TokensError: when the timeout is no number of seconds.

        """
        return self._capture.recorder.flush(timeout)

    def close(self) -> None:
        """Close calls that never ended as cancelled, deliver all (waiting some seconds at most), and release the store.

        The handler may be used again. What cannot be delivered stays in the journal for the next opener.
        """
        self._capture.end()

    def watch(self, watcher: Watcher) -> None:
        """Tell something of all calls that this process stores where this handler does, once they are stored, in the
        background; for as long as the handler lives.
        """
        self._watchers.append(watcher)
        self._capture.recorder.watch(watcher)

    @property
    def stopped_calls(self) -> int:
        """How many calls budgets have stopped here; `budget_states` says how many in all processes."""
        return self._capture.stopped_calls

    def stats(self) -> RecorderStats:
        """Counters of the way to the store: recorded, stored, pending, dropped, refused, last error, and more."""
        return self._capture.recorder.stats()

    # Hooks: calls to models

    @shielded
    def on_chat_model_start(
        self, serialized: dict[str, Any] | None, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A call to a chat model starts."""
        self._capture.open_call(serialized, run_id, kwargs, messages[0] if messages else None)

    @shielded
    def on_llm_start(self, serialized: dict[str, Any] | None, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A call to a text model starts."""
        self._capture.open_call(serialized, run_id, kwargs, prompts)

    @shielded
    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """A piece of a streamed answer arrived; the first one with content stops the clock of the first token."""
        self._capture.note_piece(run_id, has_content(token, chunk), token, chunk)

    @shielded
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """An event of a v3 stream arrived."""
        self._capture.note_event(run_id, event)

    @shielded
    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A call was answered."""
        self._capture.close_call(run_id, response, None)

    @shielded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A call failed, or was given up; what had arrived is kept."""
        self._capture.close_call(run_id, kwargs.get("response"), error)

    # Hooks: what calls are made in

    @shielded
    def on_chain_start(self, serialized: dict[str, Any] | None, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain, graph, node or function starts."""
        self._capture.open_frame(run_id, kwargs.get("name"), kwargs, inputs)

    @shielded
    def on_tool_start(self, serialized: dict[str, Any] | None, input_str: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool starts; its name stands in `serialized`."""
        name = kwargs.get("name") or (serialized or _EMPTY).get("name")
        self._capture.open_frame(run_id, name, kwargs, (input_str, kwargs.get("inputs")))

    @shielded
    def on_retriever_start(self, serialized: dict[str, Any] | None, query: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever starts."""
        self._capture.open_frame(run_id, kwargs.get("name"), kwargs, query)

    @shielded
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain, graph, node or function ends."""
        self._capture.close_frame(run_id, None)

    @shielded
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain fails, is given up, is interrupted or hands over; what a stream was given is known by then."""
        self._capture.close_frame(run_id, error, kwargs.get("inputs"))

    @shielded
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool ends."""
        self._capture.close_frame(run_id, None)

    @shielded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool fails."""
        self._capture.close_frame(run_id, error)

    @shielded
    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever ends."""
        self._capture.close_frame(run_id, None)

    @shielded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever fails."""
        self._capture.close_frame(run_id, error)
