"""What do the pictures show? Small applications that are really run, and what LangChain and the handler say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import ChatPromptTemplate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from langchain_tokens import Call, TokenUsageHandler
from langchain_tokens.frames import is_generic
from langchain_tokens.testing import ScriptedChatModel

__all__ = ("Lane", "Row", "attempt_lanes", "tree_rows")

_SHOWN_GENERIC = "ChatPromptTemplate"


class State(TypedDict, total=False):
    """What the applications pass on."""

    question: str
    turns: Annotated[int, add]


@dataclass(slots=True, kw_only=True)
class Row:
    """One run of LangChain's tree."""

    run_id: str
    name: str
    kind: str
    depth: int
    call: Call | None = None
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One way in which work is done more than once, and the calls that were made."""

    title: str
    calls: Sequence[Call]


class Watcher(BaseCallbackHandler):
    """Notes the tree of runs as LangChain reports it."""

    run_inline = True

    def __init__(self) -> None:
        self.top = Row(run_id="", name="", kind="", depth=-1)
        self._rows: dict[str, Row] = {"": self.top}

    def on_chain_start(self, serialized: Any, inputs: Any, **more: Any) -> None:  # noqa: ARG002  # LangChain gives them
        """A graph, node or chain starts."""
        is_node = any(tag.startswith("graph:step") for tag in more.get("tags") or ())
        parent = self._rows[str(more["parent_run_id"] or "")]
        if is_node:
            parent.kind = "graph"
        self._note("node" if is_node else "chain", more["name"], more)

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:  # noqa: ARG002
        """A call to a model starts."""
        self._note("call", more.get("name") or "the model", more)

    def _note(self, kind: str, name: str, more: dict[str, Any]) -> None:
        parent = self._rows[str(more["parent_run_id"] or "")]
        row = Row(run_id=str(more["run_id"]), name=name, kind=kind, depth=parent.depth + 1)
        self._rows[row.run_id] = row
        parent.rows.append(row)


def tree_rows() -> list[Row]:
    """The runs above the calls of a graph with a sub-graph, a named chain and a loop; calls know their names."""
    watcher = Watcher()
    with TokenUsageHandler(":memory:", journal=False) as handler:
        config: Any = {"callbacks": [watcher, handler], "configurable": {"thread_id": "t1"}}
        _application().invoke({"question": "Customers in Mumbai?"}, config)
        calls = {call.call_id: call for run in handler.runs for call in run.calls}
    return list(_shown(watcher.top, calls))


def attempt_lanes() -> list[Lane]:
    """Loops, fan-outs, retries, fallbacks and resumed runs, each made to happen."""
    scenes: dict[str, Callable[[Any], None]] = {
        "a loop of the graph": _loop,
        "Send: three branches": _fan_out,
        "with_retry": _with_retry,
        "RetryPolicy: the node failed after its call": _retry_policy,
        "with_fallbacks": _fallbacks,
        "interrupted, then resumed: a run of its own": _resumed,
    }
    lanes = []
    for title, play in scenes.items():
        with TokenUsageHandler(":memory:", journal=False) as handler:
            play({"callbacks": [handler], "configurable": {"thread_id": "t1"}})
            lanes.append(Lane(title=title, calls=[call for run in handler.runs for call in run.calls]))
    return lanes


def _shown(row: Row, calls: dict[str, Call]) -> Iterator[Row]:
    """The rows that lead to a call, and a prompt as an example of those that name nothing."""
    for below in row.rows:
        below.call = calls.get(below.run_id)
        if below.kind == "chain" and is_generic(below.name):
            below.kind = "generic"
        if below.call is not None or below.name == _SHOWN_GENERIC or any(_shown(below, calls)):
            yield below
            yield from _shown(below, calls)


def _asks(model: Any) -> Any:
    def node(state: State) -> State:
        model.invoke(state["question"])
        return {"turns": 1}

    return node


def _until(turns: int) -> Callable[[State], str]:
    return lambda state: "sql_fix" if state["turns"] < turns else END


def _graph(**nodes: Any) -> StateGraph[State, Any, Any, Any]:
    """Nodes one after the other."""
    builder = StateGraph(State)
    before = START
    for key, node in nodes.items():
        builder.add_node(key, node)
        builder.add_edge(before, key)
        before = key
    return builder


def _application() -> Any:
    model = ScriptedChatModel("ok", usage=(10, 5))
    generation = (ChatPromptTemplate.from_template("{question}") | model).with_config(run_name="sql_generation")
    inner = StateGraph(State)
    inner.add_node("write", lambda state: {"turns": len(generation.invoke(state).text) // 2})
    inner.add_node("sql_fix", _asks(model))
    inner.add_edge(START, "write")
    inner.add_edge("write", "sql_fix")
    inner.add_conditional_edges("sql_fix", _until(4), ["sql_fix", END])
    return _graph(intent=_asks(model), sql=inner.compile(name="sql_agent")).compile(name="nl2sql")


def _loop(config: Any) -> None:
    builder = _graph(sql_fix=_asks(ScriptedChatModel("ok", usage=(10, 5))))
    builder.add_conditional_edges("sql_fix", _until(3), ["sql_fix", END])
    builder.compile(name="nl2sql").invoke({"question": "?"}, config)


def _fan_out(config: Any) -> None:
    builder = StateGraph(State)
    builder.add_node("read", _asks(ScriptedChatModel("ok", usage=(10, 5))))
    builder.add_conditional_edges(START, lambda _: [Send("read", {"question": name}) for name in "abc"], ["read"])
    builder.compile(name="reader").invoke({"question": "?"}, config)


def _with_retry(config: Any) -> None:
    model = ScriptedChatModel([TimeoutError("slow"), "ok"], usage=(10, 5))
    retried = model.with_retry(wait_exponential_jitter=False, retry_if_exception_type=(TimeoutError,))
    retried.with_config(run_name="sql_generation").invoke("?", config)


def _retry_policy(config: Any) -> None:
    model = ScriptedChatModel("ok", usage=(10, 5))
    failures = iter([True, False])

    def node(state: Any) -> State:
        model.invoke(state["question"])
        if next(failures):
            raise TimeoutError("the database did not answer")
        return {"turns": 1}

    builder = StateGraph(State)
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=TimeoutError)
    builder.add_node("write", node, retry_policy=policy)
    builder.add_edge(START, "write")
    builder.compile(name="nl2sql").invoke({"question": "?"}, config)


def _fallbacks(config: Any) -> None:
    first, second = ScriptedChatModel(TimeoutError("down")), ScriptedChatModel("ok", usage=(10, 5))
    first.with_fallbacks([second]).with_config(run_name="sql_generation").invoke("?", config)


def _resumed(config: Any) -> None:
    model = ScriptedChatModel("ok", usage=(10, 5))

    def node(state: Any) -> State:
        model.invoke(state["question"])
        return {"turns": int(interrupt("go on?"))}

    graph = _graph(ask=node).compile(name="nl2sql", checkpointer=InMemorySaver())
    graph.invoke({"question": "?"}, config)
    graph.invoke(Command(resume="1"), config)
