"""Does a budget stop a call before it is made? In every way of running, at once, and with all that may go wrong."""

from __future__ import annotations

import asyncio
import logging
import operator
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from langchain_tokens import Budget, BudgetExceeded, PriceBook, TokenUsageHandler, gate, ledger, open_store, track
from langchain_tokens.call import Call, RunFact
from langchain_tokens.registry import REGISTRY
from langchain_tokens.store.budgetreading import read_reservations
from langchain_tokens.store.engine import reading
from langchain_tokens.store.store import UsageStore
from tests.models import Reply, ScriptedChat, StreamingChat, in_turn

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

BRANCHES = 64
SHORT = 0.2
"""Seconds that a test lets a hook wait for a database that does not answer."""


class Counting:
    """A script that counts how often its model was asked."""

    def __init__(self, *replies: Reply | BaseException) -> None:
        self._script = in_turn(*replies)
        self._lock = threading.Lock()
        self.asked = 0

    def __call__(self, messages: Any) -> Reply:
        with self._lock:
            self.asked += 1
        return self._script(messages)


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the threads that a test began."""
    yield
    REGISTRY.drain()


@pytest.fixture
def script() -> Counting:
    """What the models of a test answer."""
    return Counting()


def stopping(**more: Any) -> Budget:
    """A budget of two calls, unless said otherwise, that stops."""
    return Budget(**{"limit_calls": 2, **more}, action="stop")


def made(ask: Callable[[], Any], times: int) -> tuple[int, list[BudgetExceeded]]:
    """Ask so often: how many answers there were, and how many stops."""
    errors: list[BudgetExceeded] = []
    for _ in range(times):
        try:
            ask()
        except BudgetExceeded as error:
            errors.append(error)
    return times - len(errors), errors


async def pieces(model: Any, config: Any) -> list[Any]:
    """All that a model streams."""
    return [piece async for piece in model.astream("q", config)]


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda model, config: model.invoke("q", config),
    "ainvoke": lambda model, config: asyncio.run(model.ainvoke("q", config)),
    "stream": lambda model, config: list(model.stream("q", config)),
    "astream": lambda model, config: asyncio.run(pieces(model, config)),
    "batch": lambda model, config: model.batch(["q"], config),
    "abatch": lambda model, config: asyncio.run(model.abatch(["q"], config)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_stopped_before_it_is_made(way: str, script: Counting, tmp_path: Path) -> None:
    """However a model is asked, it is asked as often as the budget allows; what was stopped leaves nothing behind."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping()]) as handler:
        model = StreamingChat(script=script)
        answers, errors = made(lambda: WAYS[way](model, {"callbacks": [handler]}), 4)

        assert (answers, len(errors), script.asked, handler.stopped_calls) == (2, 2, 2, 2)
        assert handler.breakdown().total.calls == 2
        assert not handler._capture.runs._calls
        handler.flush()
        assert [call.status for call in handler.store.calls()] == ["ok", "ok"]


def test_a_text_model_is_stopped_too(tmp_path: Path) -> None:
    """Models of plain text are asked for as well."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping()]) as handler:
        model = FakeListLLM(responses=["a"])
        answers, errors = made(lambda: model.invoke("q", {"callbacks": [handler]}), 3)

    assert (answers, len(errors)) == (2, 1)


def test_the_error_says_what_stopped_it(tmp_path: Path) -> None:
    """It says which budget, what was spent, reserved and asked for, and where."""
    budget = Budget(limit_usd="0.00001", per="session", action="stop", name="small")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget], session="s1", agent="Coder") as handler:
        chain = ScriptedChat().with_config(run_name="sql_fix").bind(max_tokens=100)
        with pytest.raises(BudgetExceeded) as raised:
            chain.invoke("q", {"callbacks": [handler]})

    error = raised.value
    assert (error.budget, error.unit, error.reason, error.limit) == ("small", "usd", "limit", Decimal("0.00001"))
    assert (error.spent, error.reserved, error.scope) == (0, 0, {"session": "s1"})
    assert (error.chain, error.agent, error.session) == ("sql_fix", "Coder", "s1")
    assert isinstance(error.asked, Decimal)
    assert error.asked > Decimal("0.00006")  # a hundred tokens of output
    for said in ("'small'", "session 's1'", "$0.000010", "chain 'sql_fix'", "agent 'Coder'", f"run '{error.run_id}'"):
        assert said in str(error)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_what_langchain_logs_of_a_stop_can_be_filtered(
    way: str, script: Counting, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """LangChain logs each stop, as the page on budgets says; the page's filter takes out that line and no other."""
    page = (Path(__file__).parents[1] / "docs" / "budgets.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"`(logging\.getLogger\(.+?\))`\.\n", page)
    logger = logging.getLogger("langchain_core.callbacks.manager")
    before = list(logger.filters)
    try:
        with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping(limit_calls=1)]) as handler:
            model = StreamingChat(script=script)
            made(lambda: WAYS[way](model, {"callbacks": [handler]}), 2)
            eval(statement)  # noqa: S307  # what our own page says
            made(lambda: WAYS[way](model, {"callbacks": [handler]}), 1)
            logger.warning("Error in Other.on_chat_model_start callback: ValueError('x')")
    finally:
        logger.filters[:] = before
    stopped, other = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert stopped.startswith("Error in TokenUsageHandler.on_chat_model_start callback: BudgetExceeded(\"budget '")
    assert other.startswith("Error in Other.")


# At once


class Fan(TypedDict, total=False):
    """The state of a graph that fans out."""

    item: int
    stops: Annotated[int, operator.add]
    answers: Annotated[int, operator.add]


def fan_out(model: Any) -> Any:
    """A graph of many branches at once, each with a call; a branch that is stopped says so."""

    def ask(_: Fan) -> Fan:
        try:
            model.invoke("q")
        except BudgetExceeded:
            return {"stops": 1}
        return {"answers": 1}

    async def ask_async(_: Fan) -> Fan:
        try:
            await model.ainvoke("q")
        except BudgetExceeded:
            return {"stops": 1}
        return {"answers": 1}

    builder = StateGraph(Fan)
    builder.add_node("ask", RunnableLambda(ask, afunc=ask_async))
    builder.add_conditional_edges(START, lambda _: [Send("ask", {"item": number}) for number in range(BRANCHES)])
    builder.add_edge("ask", END)
    return builder.compile(name="fan")


FAN: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda graph, config: graph.invoke({}, config),
    "ainvoke": lambda graph, config: asyncio.run(graph.ainvoke({}, config)),
}


@pytest.mark.parametrize("way", FAN)
def test_branches_at_once_stay_within_the_limit(way: str, lasting_database: Database, script: Counting) -> None:
    """Of 64 branches at once as many are answered as surely fit, and what they cost stays below the limit."""
    worst = Decimal("0.000090")  # 150 bytes and tokens at most of input, a hundred of output
    limit = worst * 16
    budget = Budget(limit_usd=limit, per="run", action="stop")
    usage = {"input_tokens": 20, "output_tokens": 100, "total_tokens": 120}
    model = ScriptedChat(script=Counting(Reply(usage=usage)))
    with TokenUsageHandler(lasting_database.url, budgets=[budget]) as handler:
        bound = model.bind(max_tokens=100)
        found = FAN[way](fan_out(bound), {"callbacks": [handler], "max_concurrency": 32})

        assert handler.flush(30)
        spent = handler.store.breakdown().total.cost_usd
        assert spent is not None
        assert spent <= limit
        assert found["answers"] + found["stops"] == BRANCHES
        assert found["answers"] >= 16
        assert found["stops"] == handler.stopped_calls > 0
        assert handler.store.breakdown().total.calls == found["answers"]
        assert reservations(lasting_database.url) == 0


@pytest.mark.parametrize("way", FAN)
def test_branches_at_once_stay_within_a_number_of_calls(way: str, lasting_database: Database, script: Counting) -> None:
    """Of 64 branches at once exactly so many are answered as the budget has calls."""
    with TokenUsageHandler(lasting_database.url, budgets=[stopping(limit_calls=10)]) as handler:
        found = FAN[way](fan_out(ScriptedChat(script=script)), {"callbacks": [handler]})

    assert (found["answers"], found["stops"], script.asked) == (10, BRANCHES - 10, 10)


def reservations(url: str) -> int:
    """How many reservations a database holds."""
    with closing(open_store(url)) as store, reading(store._engine(), store.target) as connection:
        return len(read_reservations(connection))


# Who else is there


def test_a_node_is_not_run_again(script: Counting, tmp_path: Path) -> None:
    """LangGraph's default retry policy does not try again what a budget stopped, and the run ends with that error."""
    runs: list[int] = []

    def node(_: Fan) -> Fan:
        runs.append(1)
        ScriptedChat(script=script).invoke("q")
        ScriptedChat(script=script).invoke("q")
        return {}

    builder = StateGraph(Fan)
    builder.add_node("node", node, retry_policy=RetryPolicy(initial_interval=0, max_attempts=3))
    builder.add_edge(START, "node")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping(limit_calls=1)]) as handler:
        with pytest.raises(BudgetExceeded):
            builder.compile(name="graph").invoke({}, {"callbacks": [handler]})

        assert (len(runs), script.asked) == (1, 1)
        assert handler.last_run is not None
        assert handler.last_run.status == "error"
        assert [(call.status, call.attempt) for call in handler.last_run.calls] == [("ok", 1)]
        handler.flush()
        stored = handler.store.runs()[0]
        assert (stored.status, stored.total.calls) == ("error", 1)


def test_a_retry_is_stopped_each_time(script: Counting, tmp_path: Path) -> None:
    """`with_retry` tries again, and is stopped again before anything is paid."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping(limit_calls=1)]) as handler:
        model = ScriptedChat(script=script).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        model.invoke("q", {"callbacks": [handler]})
        with pytest.raises(BudgetExceeded):
            model.invoke("q", {"callbacks": [handler]})

    assert (script.asked, handler.stopped_calls) == (1, 2)


def test_a_fallback_may_still_fit(script: Counting, tmp_path: Path) -> None:
    """`with_fallbacks` goes on with the next model, which a budget of the first does not stop."""
    dear = ScriptedChat(script=script).bind(max_tokens=1_000)
    cheap = ScriptedChat(script=script).bind(max_tokens=1)
    budget = Budget(limit_usd="0.0004", action="stop")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget]) as handler:
        answer = dear.with_fallbacks([cheap]).with_config(run_name="answer").invoke("q", {"callbacks": [handler]})

        assert answer.content == "a short answer"
        assert (script.asked, handler.stopped_calls) == (1, 1)
        assert handler.last_run is not None
        assert [(call.status, call.attempt) for call in handler.last_run.calls] == [("ok", 1)]


def test_two_handlers_do_not_count_a_call_twice(script: Counting, tmp_path: Path) -> None:
    """Two handlers with the same budget on one store reserve once for a call, and both see what the other did."""
    handlers = [TokenUsageHandler(tmp_path / "t.db", budgets=[stopping(limit_calls=3)]) for _ in range(2)]
    model = ScriptedChat(script=script)
    answers, errors = made(lambda: model.invoke("q", {"callbacks": handlers}), 5)

    assert (answers, len(errors), script.asked) == (3, 2, 3)
    for handler in handlers:
        handler.close()
    assert handlers[0].store.breakdown().total.calls == 3


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_call_that_another_handler_stopped_is_no_call(way: str, order: int, tmp_path: Path) -> None:
    """A handler that saw the start of a call which another one stopped records none, and holds nothing for it."""
    first = TokenUsageHandler(tmp_path / "a.db", budgets=[stopping(limit_calls=100)])
    plain = TokenUsageHandler(tmp_path / "b.db", budgets=())
    second = TokenUsageHandler(tmp_path / "c.db", budgets=[stopping(limit_calls=1)])
    handlers = [first, plain, second][::order]
    answers, errors = made(lambda: WAYS[way](ScriptedChat(), {"callbacks": handlers}), 2)

    assert (answers, len(errors)) == (1, 1)
    for handler in handlers:
        handler.close()
        assert [call.status for call in handler.store.calls()] == ["ok"]
    assert reservations(str(tmp_path / "a.db")) == 0


@pytest.mark.parametrize("way", ["generate", "agenerate"])
def test_a_batch_is_stopped_as_a_whole(way: str, script: Counting, tmp_path: Path) -> None:
    """Of prompts that are sent together none is sent when one is stopped, and none stays reserved."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping()]) as handler:
        model, several = ScriptedChat(script=script), [[HumanMessage("a")], [HumanMessage("b")], [HumanMessage("c")]]
        ask = (
            (lambda: model.generate(several, callbacks=[handler]))
            if way == "generate"
            else (lambda: asyncio.run(model.agenerate(several, callbacks=[handler])))
        )
        with pytest.raises(BudgetExceeded):
            ask()
        assert script.asked == 0
        assert not handler._capture.runs._calls
        assert made(lambda: model.invoke("q", {"callbacks": [handler]}), 3)[0] == 2


def test_blocks_have_budgets_too(script: Counting, tmp_path: Path) -> None:
    """Budgets of a block hold for the calls in it, with those around; a handler of its own obeys them as well."""
    model = ScriptedChat(script=script)
    with track(tmp_path / "t.db", budgets=[stopping(limit_calls=3, per="run")]) as run:
        assert made(lambda: model.invoke("q"), 1)[0] == 1
        with track(budgets=[stopping(limit_calls=2, per="run")]):
            assert made(lambda: model.invoke("q"), 3)[0] == 1
        assert made(lambda: model.invoke("q"), 3)[0] == 1
    assert run.total.calls == 3
    with TokenUsageHandler(tmp_path / "u.db", budgets=()) as handler:
        with track(budgets=[stopping(limit_calls=1)]):
            assert made(lambda: model.invoke("q", {"callbacks": [handler]}), 2)[0] == 1
            assert made(lambda: asyncio.run(model.ainvoke("q", {"callbacks": [handler]})), 1)[0] == 0
        assert made(lambda: model.invoke("q", {"callbacks": [handler]}), 1)[0] == 1


def test_names_have_accounts_of_their_own(script: Counting, tmp_path: Path) -> None:
    """A session that has used up its budget does not stop another."""
    with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping(per="session", where={"mode": "chat"})]) as handler:
        model = ScriptedChat(script=script)

        def ask(session: str, mode: str = "chat") -> int:
            metadata = {"tokens_session": session, "tokens_mode": mode}
            return made(lambda: model.invoke("q", {"callbacks": [handler], "metadata": metadata}), 3)[0]

        assert (ask("s1"), ask("s2"), ask("s1", "batch")) == (2, 2, 3)


@pytest.mark.parametrize("name", ["x" * 1_000, "'; DROP TABLE llm_call; --", "\u202e", "%", "(none)", '"'])
def test_hostile_names_are_counted(name: str, lasting_database: Database) -> None:
    """Names that look like SQL, or like something else, have accounts like all others."""
    with TokenUsageHandler(lasting_database.url, budgets=[stopping(limit_calls=2, per="session")]) as handler:
        config: Any = {"callbacks": [handler], "metadata": {"tokens_session": name, "tokens_tag_a": name}}
        with track(budgets=[Budget(limit_calls=1, per="tag:a", action="stop")]):
            answers, errors = made(lambda: ScriptedChat().invoke("q", config), 3)

    assert (answers, len(errors)) == (1, 2)


@pytest.mark.parametrize("name", ["a\ud800b", "a\0b"])
def test_names_that_are_not_stored_spoil_nothing(
    name: str, lasting_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Names that a database does not take neither get past a budget of all calls, nor keep others from being asked."""
    with TokenUsageHandler(lasting_database.url, budgets=[stopping(limit_calls=2)]) as handler:
        config: Any = {"callbacks": [handler], "metadata": {"tokens_session": name, "tokens_tag_a": name}}
        with track(budgets=[Budget(limit_calls=9, per=("session", "tag:a"), action="stop")]):
            answers, errors = made(lambda: ScriptedChat().invoke("q", config), 4)

    assert (answers, len(errors)) == (2, 2)
    assert "whether budgets" not in caplog.text


# What calls turn out to need


def test_what_a_call_used_takes_the_place_of_its_worst_case(tmp_path: Path) -> None:
    """Calls one after the other count by what they used, however much was reserved for each."""
    worst = Decimal("0.0007")  # for a thousand tokens of output, though an answer has five
    with TokenUsageHandler(tmp_path / "t.db", budgets=[Budget(limit_usd=worst, action="stop")]) as handler:
        model = ScriptedChat().bind(max_tokens=1_000)
        assert made(lambda: model.invoke("q", {"callbacks": [handler]}), 10)[0] == 10


def test_a_database_that_stores_slowly_stops_no_call_that_fits(
    script: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that fits once those before it are stored waits for that, also on a machine with far too much to do."""
    add = UsageStore.add

    def late(store: UsageStore, calls: Sequence[Call], runs: Sequence[RunFact] = ()) -> None:
        threading.Event().wait(1.3 if calls else 0)
        add(store, calls, runs)

    monkeypatch.setattr(UsageStore, "add", late)
    budget = stopping(limit_calls=None, limit_tokens=1_000, assumed_output_tokens=700)
    with TokenUsageHandler(tmp_path / "tokens.db", budgets=[budget]) as handler:
        for _ in range(2):
            ScriptedChat(script=script).invoke("q", {"callbacks": [handler]})
    assert script.asked == 2


def test_failed_and_cancelled_calls_hold_nothing(tmp_path: Path) -> None:
    """A call that failed or was given up lets its reservation go, and counts by what it used."""
    url = str(tmp_path / "t.db")
    with TokenUsageHandler(url, budgets=[Budget(limit_usd="0.0007", action="stop")]) as handler:
        config: Any = {"callbacks": [handler]}
        with pytest.raises(RuntimeError, match="no"):
            ScriptedChat(script=in_turn(RuntimeError("no"))).bind(max_tokens=1_000).invoke("q", config)
        stream = StreamingChat().bind(max_tokens=1_000).stream("q", config)
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # a generator
        assert handler.flush(10)
        assert reservations(url) == 0
        assert made(lambda: ScriptedChat().bind(max_tokens=1_000).invoke("q", config), 1)[0] == 1


def test_answers_from_the_cache_cost_nothing(script: Counting, tmp_path: Path) -> None:
    """An answer of LangChain's cache is no call of a budget's."""
    set_llm_cache(InMemoryCache())
    try:
        with TokenUsageHandler(tmp_path / "t.db", budgets=[stopping()]) as handler:
            model = ScriptedChat(script=script)
            assert made(lambda: model.invoke("q", {"callbacks": [handler]}), 5)[0] == 5
            assert made(lambda: model.invoke("other", {"callbacks": [handler]}), 1)[0] == 1
            assert made(lambda: model.invoke("third", {"callbacks": [handler]}), 1)[0] == 0
    finally:
        set_llm_cache(None)


def test_long_answers_teach(tmp_path: Path) -> None:
    """Where a call does not say how long its answer may be, the longest earlier one of its model and chain does; also
    in the next process.
    """
    usage = {"input_tokens": 10, "output_tokens": 900, "total_tokens": 910}
    budget = Budget(limit_tokens=2_200, action="stop", assumed_output_tokens=50)
    model = ScriptedChat(script=in_turn(Reply(usage=usage)))
    program = partial(model.invoke, "q")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget]) as handler:
        answers, errors = made(partial(program, {"callbacks": [handler]}), 3)
    REGISTRY._ledgers.clear()  # what the process has learned
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget]) as handler:
        later, more = made(partial(program, {"callbacks": [handler]}), 1)

    assert (answers, later) == (2, 0)
    assert all(isinstance(error.asked, int) and error.asked > 900 for error in (*errors, *more))


@pytest.mark.parametrize(("unpriced", "answers"), [("warn", 3), ("ignore", 3), ("block", 0)])
def test_calls_without_a_price(unpriced: Any, answers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Under a limit in dollars, a model without a price is told once, refused, or let through, as the budget says."""
    budget = Budget(limit_usd=1, action="stop", unpriced=unpriced)
    model = ScriptedChat(script=in_turn(Reply(metadata={"model_name": "no-such-model"})))
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget], prices=PriceBook([], corrections=False)) as handler:
        handler._capture.gate._means.prices._finder.find = lambda *_: None  # type: ignore[union-attr,method-assign]
        found, errors = made(lambda: model.invoke("q", {"callbacks": [handler]}), 3)
        handler.flush()

    assert found == answers
    assert all(error.reason == "unpriced" and error.asked is None for error in errors)
    assert caplog.text.count("have no price and count nothing") == (1 if unpriced == "warn" else 0)


# What goes wrong


class BrokenPrices(PriceBook):
    """A price book that raises, wherever it is asked."""

    def price(self, call: Call) -> Call:
        """Raise."""
        raise BudgetExceeded("from a price book")

    def cost(self, *_: Any, **__: Any) -> Any:
        """Raise."""
        raise ZeroDivisionError("no price today")


def test_nothing_else_gets_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks while a budget is asked, the host's call is made."""
    with TokenUsageHandler(
        tmp_path / "t.db", budgets=[stopping(limit_usd=1, limit_calls=None)], prices=BrokenPrices()
    ) as handler:
        config: Any = {"callbacks": [handler]}
        assert ScriptedChat().invoke("q", config).content == "a short answer"

        def fail(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("on purpose")

        for place in ("bound_input", "load"):
            monkeypatch.setattr("langchain_tokens.estimate.Estimator." + place, fail)
        monkeypatch.setattr(ledger.Ledger, "ask", fail)
        assert ScriptedChat().invoke("q", config).content == "a short answer"
        assert asyncio.run(ScriptedChat().ainvoke("q", config)).content == "a short answer"


@pytest.mark.parametrize(("if_unreachable", "answers", "reason"), [("decide", 1, "limit"), ("stop", 0, "unreachable")])
def test_a_database_that_does_not_answer(
    if_unreachable: Any, answers: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook waits for a locked database for a bounded time; then its process decides by what it knows, or stops."""
    monkeypatch.setattr(gate, "WAIT_SECONDS", SHORT)
    budget = stopping(limit_calls=3, if_unreachable=if_unreachable)
    handler = TokenUsageHandler(f"sqlite:///{tmp_path / 't.db'}?timeout=1", budgets=[budget])
    ask = lambda: ScriptedChat().invoke("q", {"callbacks": [handler]})  # noqa: E731
    assert made(ask, 2)[0] == 2
    handler.flush()
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        found, errors = made(ask, 4)
        other.execute("ROLLBACK")
    assert (found, {error.reason for error in errors}) == (answers, {reason})
    handler.close()
    assert handler.store.breakdown().total.calls == 2 + answers


def test_only_handlers_that_may_stop_leave_the_loop(tmp_path: Path) -> None:
    """Without a budget that stops, hooks stay on the event loop's thread and let nothing out; with one, they ask for
    the database in another thread.
    """
    plain = TokenUsageHandler(tmp_path / "t.db", budgets=())
    telling = TokenUsageHandler(tmp_path / "t.db", budgets=[Budget(limit_calls=1)])
    stops = TokenUsageHandler(tmp_path / "t.db", budgets=[stopping()])

    assert [(one.run_inline, one.raise_error) for one in (plain, telling, stops)] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert plain._capture.gate is None
    threads: list[threading.Thread] = []
    found = stops._capture.gate
    assert found is not None
    admit = found.admit

    def watched(*arguments: Any) -> None:
        threads.append(threading.current_thread())
        admit(*arguments)

    found.admit = watched  # type: ignore[method-assign]  # a look at who asks
    asyncio.run(ScriptedChat().ainvoke("q", {"callbacks": [stops]}))
    assert [thread is threading.main_thread() for thread in threads] == [False]
