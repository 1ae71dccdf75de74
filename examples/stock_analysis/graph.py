"""Who does which step? One chain reads indicators, four read charts at the same time, the last one decides.

    indicator_summary ─────────┐
    comprehensive_overview ────┤
    volume_analysis ───────────┼──► final_decision
    reversal_patterns ─────────┤
    continuation_levels ───────┘

Nothing in here knows of token counting: the chains that appear in the reports are the nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, Protocol, TypeAlias, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from examples.stock_analysis.charts import CHARTS, draw_chart, image_block
from examples.stock_analysis.market import describe_indicators, make_history
from examples.stock_analysis.prompts import PROMPTS

__all__ = ("CHAINS", "Graph", "Question", "State", "build_graph")

CHAINS = tuple(PROMPTS)
NOT_AVAILABLE = "not available"


class Question(TypedDict):
    """What goes into the graph."""

    symbol: str


class State(Question):
    """What the chains share."""

    findings: Annotated[dict[str, str], operator.or_]
    decision: NotRequired[str]


Graph: TypeAlias = CompiledStateGraph[State, None, Question, State]


class Node(Protocol):
    """A step: what it adds to the state."""

    def __call__(self, state: State) -> dict[str, object]:
        """Take the step."""


def build_graph(model: BaseChatModel) -> Graph:
    """Return the analysis as a graph.

    Arguments:
        model: The chat model that every chain asks; it has to take pictures.

    """
    builder = StateGraph(State, input_schema=Question)
    first = {"indicator_summary": _indicator_node(model), **{name: _chart_node(model, name) for name in CHARTS}}
    for name, node in first.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    builder.add_node("final_decision", _decision_node(model))
    builder.add_edge(list(first), "final_decision")
    builder.add_edge("final_decision", END)
    return builder.compile(name="stock_analysis")


def _indicator_node(model: BaseChatModel) -> Node:
    def indicator_summary(state: State) -> dict[str, object]:
        text = f"Share: {state['symbol']}\n{describe_indicators(make_history(state['symbol']))}"
        return {"findings": {"indicator_summary": _ask(model, "indicator_summary", text)}}

    return indicator_summary


def _chart_node(model: BaseChatModel, name: str) -> Node:
    def read_chart(state: State) -> dict[str, object]:
        history = make_history(state["symbol"])
        text = f"Share: {state['symbol']}, {len(history)} days until {history[-1].day}"
        content = [{"type": "text", "text": text}, image_block(draw_chart(history, name))]
        try:
            return {"findings": {name: _ask(model, name, content)}}
        except Exception as error:  # noqa: BLE001 - whatever the provider's client raises: one chart less is no end
            return {"findings": {name: f"{NOT_AVAILABLE} ({error})"}}

    return read_chart


def _decision_node(model: BaseChatModel) -> Node:
    def final_decision(state: State) -> dict[str, object]:
        found = "\n".join(f"{name}: {state['findings'][name]}" for name in CHAINS if name in state["findings"])
        return {"decision": _ask(model, "final_decision", f"Share: {state['symbol']}\n{found}")}

    return final_decision


def _ask(model: BaseChatModel, name: str, content: str | Sequence[dict[str, Any]]) -> str:
    said: str | list[str | dict[Any, Any]] = content if isinstance(content, str) else list(content)
    return str(model.invoke([SystemMessage(PROMPTS[name]), HumanMessage(said)]).text)
