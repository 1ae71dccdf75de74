"""What are the models told? Who they are, in which conversation, and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_core.messages import SystemMessage

__all__ = ("AGENTS", "answering", "deciding", "introduction")

AGENTS: Mapping[str, str] = {
    "RAGAgent": "finds what the shop's documents say (policies, warranty, returns)",
    "MCPAgent": "asks the supplier for stock, prices and exchange rates",
    "PythonREPLAgent": "calculates",
    "FileSystemAgent": "reads the owner's notes",
    "PandasAgent": "sums up the sales file",
    "SQLAgent": "asks the order table",
}
"""Whom the orchestrator may ask, and what for."""


def introduction(agent: str, mode: str, session: str) -> SystemMessage:
    """Say who the model is."""
    duty = AGENTS.get(agent)
    said = "Answer in one or two sentences." if duty is None else f"Your part: you are the one who {duty}."
    text = f"You are {agent} of a bicycle shop's chat. Mode: {mode}. Conversation: {session}. {said}"
    return SystemMessage(text)


def deciding(question: str) -> str:
    """Ask which agents are needed."""
    offered = "\n".join(f"- {name} {duty}" for name, duty in AGENTS.items())
    return f"Which of these agents are needed for the question? Answer with their names only.\n{offered}\n\n{question}"


def answering(question: str, findings: Sequence[tuple[str, str]]) -> str:
    """Ask for the answer, from what the agents found."""
    found = "\n".join(f"- {agent}: {text}" for agent, text in findings)
    return f"Answer the question from what was found.\n{found}\n\n{question}"
