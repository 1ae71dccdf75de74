"""What are the scenarios made of? Chains, nodes and graphs in one line each."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypedDict

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph

from langchain_tokens import TokenUsageHandler
from tests.conformance.models import ScriptedModel, StreamingModel

PROMPT = ChatPromptTemplate.from_template("{q}")
QUESTION = {"q": "question"}


class State(TypedDict, total=False):
    """The state of the graphs under test."""

    q: str
    turns: Annotated[int, operator.add]
    item: int


def config(handler: TokenUsageHandler | None, **more: Any) -> RunnableConfig:
    """A config with the handler in it."""
    callbacks = {} if handler is None else {"callbacks": [handler]}
    return {**callbacks, **more}  # type: ignore[typeddict-item]


def chain(model: Any = None, name: str | None = None) -> Runnable[Any, Any]:
    """A prompt, a model and a parser, with a name or without."""
    steps = PROMPT | (StreamingModel() if model is None else model)
    whole = steps | StrOutputParser()
    return whole if name is None else whole.with_config(run_name=name)


def asks(*askable: Any) -> Callable[[State], State]:
    """A node that invokes models or chains one after the other, without passing a config."""
    models = askable or (ScriptedModel(),)

    def node(state: State) -> State:
        for model in models:
            model.invoke("question" if hasattr(model, "bind_tools") else QUESTION)
        return {"turns": 1}

    return node


def asks_async(*askable: Any) -> Callable[[State], Any]:
    """An asynchronous node that invokes models or chains one after the other."""

    async def node(state: State) -> State:
        for model in askable:
            await model.ainvoke("question" if hasattr(model, "bind_tools") else QUESTION)
        return {"turns": 1}

    return node


def line_of(*nodes: tuple[str, Any], name: str | None = None, **compiled: Any) -> Any:
    """A compiled graph of nodes one after the other."""
    builder = StateGraph(State)
    for key, node in nodes:
        builder.add_node(key, node)
    keys = [START, *(key for key, _ in nodes), END]
    for source, target in itertools.pairwise(keys):
        builder.add_edge(source, target)
    return builder.compile(name=name, **compiled)


def looping(key: str, node: Any, times: int, name: str | None = None, **compiled: Any) -> Any:
    """A compiled graph of one node that runs a number of times."""
    builder = StateGraph(State)
    builder.add_node(key, node)
    builder.add_edge(START, key)
    builder.add_conditional_edges(key, lambda state: END if state["turns"] >= times else key, [key, END])
    return builder.compile(name=name, **compiled)


def failing_first(times: int, then: Iterable[Any] = ("answer",)) -> ScriptedModel:
    """A model that fails a number of times before it answers."""
    from tests.conformance.models import ScriptedError

    return ScriptedModel(steps=(*(ScriptedError("not now") for _ in range(times)), *then))
