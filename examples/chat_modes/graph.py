"""Who is asked in the mode RAG? The Orchestrator decides, the agents work side by side, and it answers.

decision ──► RAGAgent | MCPAgent | PythonREPLAgent | FileSystemAgent | PandasAgent | SQLAgent ──► answer
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from examples.chat_modes.agents import Findings, Graph, Task, build_rag_agent, build_tool_agent
from examples.chat_modes.prompts import AGENTS, answering, deciding, introduction
from examples.chat_modes.sources import Sources
from examples.chat_modes.tool_server import ToolClient, ToolServer
from examples.chat_modes.tools import calculate, file_tools, query_tool, table_tool

__all__ = ("ASSISTANT", "ORCHESTRATOR", "Models", "build_assistant", "build_orchestrator")

ORCHESTRATOR = "Orchestrator"
ASSISTANT = "Assistant"
Models: TypeAlias = Callable[[str], BaseChatModel]
"""Agent → its chat model."""


class Turn(Task, Findings):
    """What the orchestrator and its agents share."""

    agents: list[str]
    answer: str


class Orchestrator:
    """The steps of the orchestrator.

    Arguments:
        model: Its chat model.

    """

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model

    def decision(self, state: Turn) -> dict[str, object]:
        """Decide whom to ask; whatever is no agent's name is dropped, and without any the documents are asked."""
        said = self._ask(state, deciding(state["question"]))
        return {"agents": [name for name in AGENTS if name in said] or ["RAGAgent"]}

    def to_agents(self, state: Turn) -> list[Send]:
        """Ask all of them at once."""
        task = Task(question=state["question"], mode=state["mode"], session=state["session"])
        return [Send(name, task) for name in state["agents"]]

    def answer(self, state: Turn) -> dict[str, object]:
        """Answer from what was found; an agent that could not be asked is one that found nothing."""
        return {"answer": self._ask(state, answering(state["question"], state["findings"]))}

    def _ask(self, state: Turn, text: str) -> str:
        who = introduction(ORCHESTRATOR, state["mode"], state["session"])
        return str(self.model.invoke([who, HumanMessage(text)]).text)


def build_orchestrator(models: Models, sources: Sources) -> Graph:
    """Return the graph of the mode RAG.

    Arguments:
        models: The chat model of each agent.
        sources: Where the agents look.

    """
    orchestrator = Orchestrator(models(ORCHESTRATOR))
    builder = StateGraph(Turn, input_schema=Task)
    builder.add_node("decision", orchestrator.decision)
    builder.add_node("answer", orchestrator.answer)
    for name, agent in _agents(models, sources).items():
        builder.add_node(name, agent)
        builder.add_edge(name, "answer")
    builder.add_edge(START, "decision")
    builder.add_conditional_edges("decision", orchestrator.to_agents, list(AGENTS))
    builder.add_edge("answer", END)
    return builder.compile(name=ORCHESTRATOR)


def build_assistant(models: Models) -> Graph:
    """Return the graph of the mode TOOL: one model, and tools to calculate and to ask the supplier."""
    return build_tool_agent(ASSISTANT, models(ASSISTANT), [calculate, *ToolClient(ToolServer()).tools()])


def _agents(models: Models, sources: Sources) -> dict[str, Graph]:
    documents = build_rag_agent("RAGAgent", models("RAGAgent"), sources.documents)
    tools = {
        "MCPAgent": ToolClient(ToolServer()).tools(),
        "PythonREPLAgent": [calculate],
        "FileSystemAgent": file_tools(sources.folder / "notes"),
        "PandasAgent": [table_tool(sources.folder / "sales.csv")],
        "SQLAgent": [query_tool(sources.orders)],
    }
    return {"RAGAgent": documents, **{name: build_tool_agent(name, models(name), tools[name]) for name in tools}}
