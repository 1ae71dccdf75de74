"""Who does the work? Agents, each a graph of its own: a model that calls tools until it knows, or one that reads.

    thinking ⇄ acting          every agent with tools; the simple loop of the mode TOOL too
    retrieval ──► reading      RAGAgent

Nothing in here knows of token counting: the names in the reports are those of the graphs and nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode

from examples.chat_modes.prompts import introduction
from examples.chat_modes.retriever import Retriever

__all__ = ("UNAVAILABLE", "Findings", "Graph", "Task", "build_rag_agent", "build_tool_agent")

_MOST_ROUNDS = 5
UNAVAILABLE = "could not be asked"
"""What an agent has found whose model failed."""


class Task(TypedDict):
    """What an agent is asked, and where."""

    question: str
    mode: str
    session: str


class Findings(TypedDict):
    """What agents found: agent and text, in the order they were asked."""

    findings: Annotated[list[tuple[str, str]], operator.add]


class Work(Task, Findings):
    """What an agent keeps while it works."""

    messages: Annotated[list[AnyMessage], add_messages]
    passages: str


Graph: TypeAlias = CompiledStateGraph[Any, None, Any, Any]


class ToolAgent:
    """The steps of an agent that calls tools until it knows the answer.

    Arguments:
        name: The agent's name.
        model: Its chat model. Where it fails, the agent says so, and the others go on.
        tools: What it may call.

    """

    def __init__(self, name: str, model: BaseChatModel, tools: Sequence[BaseTool]) -> None:
        self.name = name
        self.model = _or_apology(model.bind_tools(tools))

    def thinking(self, state: Work) -> dict[str, object]:
        """Let the model call tools, or say what it found."""
        question = [introduction(self.name, state["mode"], state["session"]), HumanMessage(state["question"])]
        said = self.model.invoke([*question, *state["messages"]])
        found = {} if said.tool_calls else {"findings": [(self.name, str(said.text))]}
        return {"messages": [said], **found}

    def after_thinking(self, state: Work) -> Literal["acting", "__end__"]:
        """Act as the model wants, but not for ever."""
        rounds = sum(isinstance(message, AIMessage) for message in state["messages"])
        last = state["messages"][-1]
        wants = isinstance(last, AIMessage) and bool(last.tool_calls)
        return "acting" if wants and rounds < _MOST_ROUNDS else "__end__"


class RAGAgent:
    """The steps of an agent that reads what was found for a question.

    Arguments:
        name: The agent's name.
        model: Its chat model.
        documents: What is searched, name → text.

    """

    def __init__(self, name: str, model: BaseChatModel, documents: Mapping[str, str]) -> None:
        self.name = name
        self.model = _or_apology(model)
        self.retriever = Retriever(documents)

    def retrieval(self, state: Task) -> dict[str, object]:
        """Find passages; no model is asked."""
        found = self.retriever.search(state["question"])
        return {"passages": "\n".join(f"[{name}] {text}" for name, text in found)}

    def reading(self, state: Work) -> dict[str, object]:
        """Let the model say what the passages say."""
        task = HumanMessage(f"{state['question']}\n\nPassages:\n{state['passages']}")
        said = self.model.invoke([introduction(self.name, state["mode"], state["session"]), task])
        return {"findings": [(self.name, str(said.text))]}


def build_tool_agent(name: str, model: BaseChatModel, tools: Sequence[BaseTool]) -> Graph:
    """Return the graph of an agent with tools; its name is the agent's in all reports."""
    agent = ToolAgent(name, model, tools)
    builder = StateGraph(Work, input_schema=Task, output_schema=Findings)
    builder.add_node("thinking", agent.thinking)
    builder.add_node("acting", ToolNode(tools, handle_tool_errors=_told))
    builder.add_edge(START, "thinking")
    builder.add_conditional_edges("thinking", agent.after_thinking)
    builder.add_edge("acting", "thinking")
    return builder.compile(name=name)


def build_rag_agent(name: str, model: BaseChatModel, documents: Mapping[str, str]) -> Graph:
    """Return the graph of an agent that finds passages and reads them."""
    agent = RAGAgent(name, model, documents)
    builder = StateGraph(Work, input_schema=Task, output_schema=Findings)
    builder.add_node("retrieval", agent.retrieval)
    builder.add_node("reading", agent.reading)
    builder.add_edge(START, "retrieval")
    builder.add_edge("retrieval", "reading")
    builder.add_edge("reading", END)
    return builder.compile(name=name)


def _or_apology(model: Runnable[Any, AIMessage]) -> Runnable[Any, AIMessage]:
    """A model that says that it could not be asked, in the place of an error."""
    return model.with_fallbacks([RunnableLambda(lambda _: AIMessage(UNAVAILABLE))])


def _told(error: Exception) -> str:
    """What a model is told of a tool's error, so that it can do otherwise."""
    return f"error: {error}"
