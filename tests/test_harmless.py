"""The host is never harmed: its results stay the same, its threads wait for nothing, and the call is recorded anyway."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_tokens import PriceBook, TokenUsage, TokenUsageHandler, UsageStore, open_store
from langchain_tokens.call import Call
from langchain_tokens.runlog import RunLog
from langchain_tokens.shortening import shortened
from tests.builders import make_call, make_fact, make_usage
from tests.models import (
    FailingStore,
    Reply,
    ScriptedChat,
    StreamingChat,
    StuckStore,
    acknowledged_graph,
    in_turn,
)

ROOT = Path(__file__).resolve().parent.parent
LONG = 15.0
SURROGATE = "sql\ud800fix"
Way = Callable[[Runnable[Any, Any], RunnableConfig], Any]


def by_invoke(runnable: Runnable[Any, Any], config: RunnableConfig) -> Any:
    """Ask and wait."""
    return runnable.invoke("a question", config)


def by_ainvoke(runnable: Runnable[Any, Any], config: RunnableConfig) -> Any:
    """Ask in an event loop of its own."""
    return asyncio.run(runnable.ainvoke("a question", config))


def by_stream(runnable: Runnable[Any, Any], config: RunnableConfig) -> Any:
    """Ask and collect the pieces."""
    return list(runnable.stream("a question", config))


WAYS: Mapping[str, Way] = {"invoke": by_invoke, "ainvoke": by_ainvoke, "stream": by_stream}


class NoText:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no text")

    __repr__ = __str__


class NoTextError(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no text")

    __repr__ = __str__


class BrokenPrices(PriceBook):
    """A price book that raises."""

    def price(self, call: Call) -> Call:
        """Raise."""
        raise ZeroDivisionError("no price today")


def seen(value: Any) -> Any:
    """What the host sees of a result, without the ids that differ from run to run."""
    if isinstance(value, BaseMessage):
        parts = (value.content, getattr(value, "usage_metadata", None), value.response_metadata)
        return repr((type(value).__name__, *parts, getattr(value, "tool_calls", None)))
    return [seen(item) for item in value] if isinstance(value, list) else repr(value)


def outcome(way: Way, runnable: Runnable[Any, Any], config: RunnableConfig) -> Any:
    """What the host gets: a result, or an error of this class with these arguments."""
    try:
        return seen(way(runnable, config))
    except Exception as error:  # noqa: BLE001  # the host's own errors are results here
        return type(error).__name__, error.args


def same_as_without(
    handler: TokenUsageHandler, build: Callable[[], Runnable[Any, Any]], config: RunnableConfig | None = None
) -> None:
    """Assert that two rounds of each way give the same with the handler as without."""
    for way in WAYS.values():
        for _ in range(2):
            plain = outcome(way, build(), {**(config or {})})
            assert outcome(way, build(), {**(config or {}), "callbacks": [handler]}) == plain


def asking(model: ScriptedChat) -> Runnable[Any, Any]:
    """A chain `question` around a model."""
    return RunnableLambda(model.invoke).with_config(run_name="question")


@contextmanager
def handling(store: Path | UsageStore, **options: Any) -> Iterator[TokenUsageHandler]:
    """A handler that is closed at the end, its store freed."""
    handler = TokenUsageHandler(store, **options)
    try:
        yield handler
    finally:
        if isinstance(store, StuckStore):
            store.let_go.set()
        if isinstance(store, FailingStore):
            store.trouble = None
        handler.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies: in a folder that has nothing else."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "usage.db"


def journal_lines(path: Path) -> int:
    """How many records lie in the journal of a database."""
    return sum(len(file.read_bytes().splitlines()) for file in path.parent.glob("*.pending/*.jsonl"))


# The store


@pytest.mark.parametrize("way", WAYS)
def test_stuck_store_is_not_waited_for(path: Path, way: str) -> None:
    """With a store that never comes back, calls return, the handler's sums are exact at once, and the calls wait in the
    journal; only the writer's own thread ever touched the store.
    """
    store = StuckStore(path)
    with handling(store) as handler:
        for _ in range(3):
            WAYS[way](asking(ScriptedChat()), {"callbacks": [handler]})
            assert store.reached.wait(LONG)
        assert (handler.breakdown("chain")["question"].calls, handler.breakdown().total.total_tokens) == (3, 45)
        assert handler.stats().stored == 0
        assert journal_lines(path) == handler.stats().pending > 0
        assert store.threads == {"langchain_tokens-writer"}
        store.let_go.set()
        assert handler.flush(LONG)

    assert open_store(path).breakdown("chain")["question"].calls == 3


def test_stuck_store_does_not_stop_a_graph(path: Path) -> None:
    """A graph with two steps runs to its end while the store hangs."""
    store = StuckStore(path)
    with handling(store) as handler:
        state = acknowledged_graph(ScriptedChat()).invoke({"question": "q"}, {"callbacks": [handler]})
        assert {row.key["chain"] for row in handler.breakdown("chain")} == {"plan", "answer"}
        assert handler.last_run is not None
        assert [call.call_id for call in handler.last_run.calls] == state["call_ids"]


WATCHED = ("open", "import", "sqlite3.", "socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename")


def test_hooks_only_append(path: Path) -> None:
    """Once things run, a call with the handler opens no file, connection, database or module in the host's thread that
    the same call without it does not open.
    """
    store = StuckStore(path)
    host, watching, events = threading.get_ident(), threading.Event(), list[str]()

    def watch(event: str, _: tuple[Any, ...]) -> None:
        if watching.is_set() and threading.get_ident() == host and event.startswith(WATCHED):
            events.append(event)

    with handling(store) as handler:
        graph, chain = acknowledged_graph(ScriptedChat()), asking(StreamingChat())
        sys.addaudithook(watch)
        for _ in range(2):
            graph.invoke({"question": "q"}, {"callbacks": [handler]})
            list(chain.stream("q", {"callbacks": [handler]}))
            watching.set()
        watching.clear()

    assert events == []


def test_failing_store_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store that raises changes no result and is one warning; the calls are stored when it is well again."""
    store = FailingStore(path)
    with handling(store) as handler:
        same_as_without(handler, lambda: asking(ScriptedChat()))
        assert store.reached.wait(LONG)
        store.trouble = None
        assert handler.flush(LONG)

    assert open_store(path).breakdown().total.calls == 6
    assert caplog.messages == [
        "the store takes no calls now; they wait in the journal (RuntimeError: the store is on fire)"
    ]


def test_locked_database_is_waited_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another program holds the database's lock calls return and are counted; when it lets go they are stored."""
    with handling(path) as handler, closing(sqlite3.connect(path, isolation_level=None)) as other:
        by_invoke(asking(ScriptedChat()), {"callbacks": [handler]})
        assert handler.flush(LONG)
        other.execute("BEGIN EXCLUSIVE")
        same_as_without(handler, lambda: asking(ScriptedChat()))
        assert (handler.breakdown().total.calls, handler.flush(0.05)) == (7, False)
        other.execute("ROLLBACK")
        assert handler.flush(LONG)

    assert open_store(path).breakdown().total.calls == 7
    assert caplog.messages == []


@pytest.mark.parametrize("in_use", [True, False], ids=["in use", "before its first use"])
def test_database_replaced_by_garbage(path: Path, in_use: bool, caplog: pytest.LogCaptureFixture) -> None:
    """When another file takes the database's place, calls go on and wait, with one warning; when it is gone again, they
    are stored in a new database.
    """
    garbage = path.with_name("garbage")
    garbage.write_bytes(b"this is no database" * 1_000)
    with handling(path) as handler:
        if in_use:
            by_invoke(asking(ScriptedChat()), {"callbacks": [handler]})
            assert handler.flush(LONG)
        for file in path.parent.glob("usage.db-*"):
            file.unlink()
        garbage.replace(path)
        same_as_without(handler, lambda: asking(ScriptedChat()))
        assert not handler.flush(0.2)
        path.unlink()
        assert handler.flush(LONG)

    assert open_store(path).breakdown().total.calls == 6
    assert [message.split(" (")[0] for message in caplog.messages] == [
        "the store takes no calls now; they wait in the journal"
    ]


@pytest.mark.parametrize("whole_folder", [True, False], ids=["folder", "file"])
def test_deleted_database_is_made_anew(path: Path, whole_folder: bool) -> None:
    """When the database file or its folder is deleted, calls go on; those made later are in a new file at its place."""
    with handling(path) as handler:
        by_invoke(asking(ScriptedChat()), {"callbacks": [handler]})
        assert handler.flush(LONG)
        if whole_folder:
            shutil.rmtree(path.parent)
        else:
            for file in path.parent.glob("usage.db*"):
                if file.is_file():
                    file.unlink()
        same_as_without(handler, lambda: asking(ScriptedChat()))
        path.parent.mkdir(exist_ok=True)
        assert handler.flush(LONG)

        assert open_store(path).breakdown().total.calls == 6
        assert handler.breakdown().total.calls == 7


# The hooks


HOOKS = sorted(name for name in vars(TokenUsageHandler) if name.startswith("on_"))


@pytest.mark.parametrize(
    "rubbish", [5, NoText(), [[[]]], {"metadata": 5, 1: 2}], ids=["number", "no text", "list", "dict"]
)
@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_never_raise(path: Path, hook: str, rubbish: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a hook is called with, it returns; what goes wrong inside is one warning, however often it happens."""
    call_id = uuid4()
    with handling(path) as handler:
        handler.on_chat_model_start(rubbish, rubbish, run_id=uuid4(), metadata=rubbish, tags=rubbish)
        handler.on_chat_model_start(None, [], run_id=call_id)
        caplog.clear()
        for _ in range(3):
            if hook.endswith("_start"):
                getattr(handler, hook)(rubbish, rubbish, run_id=rubbish, metadata=rubbish, tags=rubbish, name=rubbish)
            getattr(handler, hook)(*[rubbish] * (2 if hook.endswith("_start") else 1), run_id=call_id, chunk=rubbish)
        handler.on_llm_end(rubbish, run_id=call_id)
        assert handler.flush(LONG)

    assert handler.breakdown().total.calls >= 1
    assert len(caplog.messages) == len(set(caplog.messages)) <= 2


# The journal


def test_journal_folder_that_cannot_be_made(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a file where the journal's folder should be, calls are stored from memory, with one warning."""
    path.with_name("usage.db.pending").write_text("in the way")
    with handling(path) as handler:
        same_as_without(handler, lambda: asking(ScriptedChat()))
        assert handler.flush(LONG)

    assert open_store(path).breakdown().total.calls == 6
    assert len(caplog.messages) == 1
    assert "a kill loses what is not stored yet" in caplog.messages[0]


FULL_DISK = """
import json, logging, resource, sys
from pathlib import Path
from langchain_tokens import TokenUsageHandler, UsageStore
from langchain_tokens.codec import decode
from langchain_tokens.store.target import parse_target
from tests.models import FailingStore, ScriptedChat

warnings = []
logging.getLogger("langchain_tokens").addFilter(lambda record: warnings.append(record.getMessage()))
path, is_broken = Path(sys.argv[1]), sys.argv[2] == "broken"
store = FailingStore(path) if is_broken else UsageStore(parse_target(path))
handler = TokenUsageHandler(store)
model = ScriptedChat()
texts = {model.invoke("q", {"callbacks": [handler]}).content}
if not is_broken:
    assert handler.flush(10)
limit = 20_000 if is_broken else path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for _ in range(60):
    texts.add(model.invoke("q", {"callbacks": [handler]}).content)
if is_broken:
    store.reached.wait(10)
else:
    handler.flush(0.3)
pending, counted = handler.stats().pending, handler.breakdown().total.calls
whole = 0
for file in path.parent.glob("*.pending/*.jsonl"):
    for line in file.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\\n")
        whole += decode(line) is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.trouble = None
print(json.dumps([sorted(texts), counted, pending, whole, handler.flush(10), handler.stats().dropped, warnings]))
"""


@pytest.mark.parametrize("kind", ["broken", "well"], ids=["journal full", "journal and database full"])
def test_full_disk(path: Path, kind: str) -> None:
    """When no file can grow, calls return and are counted, whole lines only lie in the journal, and all is stored when
    there is room again; each kind of trouble is one warning.
    """
    finished = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    texts, counted, pending, whole, flushed, dropped, warnings = json.loads(finished.stdout)

    assert (texts, counted, flushed, dropped) == (["a short answer"], 61, True, 0)
    assert 0 < whole < pending
    assert sorted(warning.split(" ")[1] for warning in warnings) == ["journal", "store"]
    assert open_store(path).breakdown().total.calls == 61


# The steps between


def test_price_book_that_raises(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a price book that raises, calls are counted and stored without a cost, with one warning from each side."""
    with handling(path, prices=BrokenPrices()) as handler:
        same_as_without(handler, lambda: asking(ScriptedChat()))
        row = handler.breakdown("chain")["question"]
        assert (row.calls, row.total_tokens, row.unpriced_calls, row.cost_usd) == (6, 90, 6, None)
        assert handler.record({"input_tokens": 1, "output_tokens": 1}).price_status == "unpriced"
        assert handler.flush(LONG)

    assert open_store(path).breakdown().total.unpriced_calls == 7
    assert 1 <= len(caplog.messages) <= 2
    assert all("could not be priced" in message for message in caplog.messages)


def test_value_that_the_database_refuses(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that no column can hold is kept aside and counted; those around it are stored."""
    with handling(path) as handler:
        by_invoke(asking(ScriptedChat()), {"callbacks": [handler]})
        poison = make_call(run_id="poison", usage=make_usage(2**70, 1), chain="poison")  # `record` would refuse it
        handler._capture.keep(poison, None, lambda: RunLog(make_fact("poison")), None)
        by_invoke(asking(ScriptedChat()), {"callbacks": [handler]})
        assert handler.flush(LONG)
        assert (handler.stats().refused, handler.breakdown().total.calls) == (1, 3)

    assert [row.key["chain"] for row in open_store(path).breakdown("chain")] == ["question"]
    (bad,) = path.parent.glob("*.pending/*.bad")
    assert json.loads(bad.read_bytes())["call"]["chain"] == "poison"
    assert len(caplog.messages) == 1


# What models say


NOTHING = (None, None, None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, NOTHING),
        ({}, NOTHING),
        ([1, 2, 3], NOTHING),
        ("twelve", NOTHING),
        ({"input_tokens": "ten", "output_tokens": "5", "total_tokens": ""}, NOTHING),
        ({"input_tokens": float("nan"), "output_tokens": 5, "total_tokens": float("inf")}, (None, 5, None)),
        ({"input_tokens": -10, "output_tokens": 5, "total_tokens": -5}, (None, 5, None)),
        ({"input_tokens": 2**80, "output_tokens": 5, "total_tokens": 2**63}, (None, 5, None)),
        ({"input_tokens": True, "output_tokens": 5, "total_tokens": 5}, (None, 5, 5)),
        ({"input_tokens": 10, "output_tokens": {"a": [{}]}, "input_token_details": "x"}, (10, None, None)),
        ({"input_tokens": 10, "output_tokens": 5, "input_token_details": {"cache_read": [1]}}, (10, 5, 15)),
        ({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, 7: object(), SURROGATE: "\udfff"}, (10, 5, 15)),
        ({"input_tokens": NoText(), "output_tokens": 5, "total_tokens": 15}, (None, 5, 15)),
    ],
)
def test_nonsense_in_usage(
    path: Path, usage: Any, counts: tuple[int | None, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """A model whose usage is missing or nonsense gives the host what it always gave; what is known is stored."""
    with TokenUsageHandler(path, estimate=False) as handler:
        for _ in range(2):
            model = ScriptedChat(script=in_turn(Reply(usage=usage)))
            plain = model.invoke("q")
            tracked = model.invoke("q", {"callbacks": [handler]})
            assert (tracked.content, tracked.usage_metadata is plain.usage_metadata) == (plain.content, True)
        assert handler.flush(LONG)

    for call in open_store(path).calls():
        said = call.usage or TokenUsage()
        assert (said.input_tokens, said.output_tokens, said.total_tokens) == counts
        assert call.usage_source == ("missing" if counts == NOTHING else "provider")
        assert call.cost_usd is None or counts == (10, 5, 15)
    assert open_store(path).breakdown().total.calls == 2
    assert caplog.messages == []


def circular() -> dict[str, Any]:
    """A payload that contains itself."""
    payload: dict[str, Any] = {"model_name": "gpt-4o-mini"}
    payload["token_usage"] = payload
    return payload


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"model_name": None, "finish_reason": 5},
        {"model_name": ["gpt"], "token_usage": "rubbish", "usage": [[]]},
        {"model_name": SURROGATE, "finish_reason": "st\udfffop"},
        {"model_name": "x" * 100_000},
        {"token_usage": NoText()},
        circular(),
    ],
    ids=["empty", "wrong types", "lists", "surrogates", "long", "no text", "circular"],
)
def test_nonsense_in_response_metadata(path: Path, metadata: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else a response says, the call is stored with the usage that LangChain read."""
    with handling(path) as handler:
        for way in (by_invoke, by_stream):
            model = StreamingChat(script=in_turn(Reply(metadata=metadata)))
            way(model, {"callbacks": [handler]})
        assert handler.flush(LONG)

    calls = open_store(path).calls()
    assert [call.usage.total_tokens for call in calls if call.usage is not None] == [15, 15]
    assert all(isinstance(call.model, str) for call in calls)
    assert caplog.messages == []


# What hosts say


NAMES = {
    "lines": "first\nsecond\r\nthird",
    "terminal": "\x1b[31mred\x1b[0m\a\b",
    "sql": "x'); DROP TABLE llm_call; --",
    "html": "<script>alert('x')</script>",
    "formula": "=1+1",
    "right to left": "\u202egnp.exe",
    "percent": "100% {0} %s",
    "long": "x" * 10_000,
    "separators": "a/b/c",
    "not text": SURROGATE,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_odd_names(path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Names with anything in them change no result and are stored as they are, without what is no text, a long one as
    its beginning with a mark; none reaches a terminal or a page raw.
    """
    config: RunnableConfig = {
        "run_name": name,
        "metadata": {"session_id": name, "tokens_user": name, "tokens_tag_team": name, "tokens_agent": name},
    }
    with handling(path) as handler:
        same_as_without(handler, lambda: asking(ScriptedChat()), config)
        assert handler.flush(LONG)
        shown = [handler.breakdown("chain"), handler.store.breakdown("chain", "session", "user", "tag:team")]

    kept = name.replace("\ud800", "\ufffd")
    assert [row.calls for row in open_store(path).breakdown("session")] == [6]
    assert {(call.session, call.user, call.agent, call.tags["team"]) for call in open_store(path).calls()} == {
        (shortened(kept, "session"), shortened(kept, "user"), shortened(kept, "agent"), kept)
    }
    assert caplog.messages == []
    for breakdown in shown:
        assert not set("\x1b\a\b\r\u202e") & set(str(breakdown))
        assert "<script>" not in breakdown._repr_html_()


@pytest.mark.parametrize(
    "metadata",
    [
        {"session_id": 5, "tokens_user": 1.5, "tokens_agent": True, "tokens_mode": b"\xff"},
        {"session_id": ["a"], "tokens_user": {"b": 1}, "tokens_chain": {1}, "tokens_mode": ()},
        {"session_id": None, "tokens_chain": "", "tokens_attempt": "many", "tokens_error": 7},
        {"lc_agent_name": ["a"], "lc_source": {"b": 1}, "langgraph_node": 5, "langgraph_step": "x"},
        {"langgraph_checkpoint_ns": ["a"], "langgraph_path": 5, "tokens_agents": [1]},
        {"ls_model_name": ["a"], "ls_provider": {"b": 1}, "ls_temperature": object()},
        {"tokens_attempt": 10**30},
        {"tokens_attempt": -1},
        {"tokens_attempt": "²"},
        {"tokens_tag_x": object(), "tokens_tag_": "empty", "tokens_tag_y": None},
        {1: "a", ("b",): "c", None: "d"},
        {"session_id": NoText()},
        {"tokens_tag_x": NoText()},
    ],
)
def test_odd_metadata(path: Path, metadata: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Metadata of any type changes no result; the call is stored with its usage, with one warning at most."""
    with handling(path) as handler:
        same_as_without(handler, lambda: asking(ScriptedChat()), {"metadata": metadata})
        assert handler.flush(LONG)
        assert handler.stats().refused == 0

    total = open_store(path).breakdown().total
    assert (total.calls, total.total_tokens) == (6, 90)
    assert len(caplog.messages) <= 1


@pytest.mark.parametrize(
    "error", [NoTextError(), ValueError(), ValueError(SURROGATE), OSError(2, "gone"), TimeoutError("x" * 100_000)]
)
def test_odd_errors(path: Path, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Any error of a model reaches the host as it is, and is a row that names its type."""
    with handling(path) as handler:
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                asking(ScriptedChat(script=in_turn(error))).invoke("q", {"callbacks": [handler]})
            assert caught.value is error
        assert handler.flush(LONG)

    assert [(call.status, call.error_type) for call in open_store(path).calls()] == 2 * [
        ("error", type(error).__name__)
    ]
    assert [run.status for run in open_store(path).runs()] == ["error", "error"]
    assert caplog.messages == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupts_pass(path: Path, error: type[BaseException]) -> None:
    """What ends the host's work from outside passes through, and the call is stored as cancelled."""
    with handling(path) as handler:
        with pytest.raises(error):
            asking(ScriptedChat(script=in_turn(error()))).invoke("q", {"callbacks": [handler]})
        assert handler.flush(LONG)

    assert [call.status for call in open_store(path).calls()] == ["cancelled"]
