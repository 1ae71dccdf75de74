"""What is a conversation? A question in one of three modes, its answer, and what it used, as one object.

SIMPLE   the model alone; the answer arrives piece by piece
TOOL     the model, with tools, in a loop
RAG      the Orchestrator, with retrieval, agents and tools
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from examples.chat_modes.agents import Task
from examples.chat_modes.graph import ASSISTANT, Models, build_assistant, build_orchestrator
from examples.chat_modes.prompts import introduction
from examples.chat_modes.sources import Sources
from langchain_tokens import Budget, BudgetExceeded, Run, TokenUsageHandler, track

__all__ = ("MODES", "Chat", "Conversation")

MODES = ("SIMPLE", "TOOL", "RAG")
_REFUSED = "The budget of this chat is used up."


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One question and its answer, ended."""

    question: str
    answer: str
    findings: Sequence[tuple[str, str]]
    """What each agent found, in the mode RAG."""
    run: Run
    """Its agents, totals, cost, start and end."""


class Chat:
    """The application. Threads may share it: conversations of several people go on at once.

    Arguments:
        models: The chat model of each agent.
        sources: Where the agents look.
        handler: Counts the tokens.

    """

    def __init__(self, models: Models, sources: Sources, handler: TokenUsageHandler) -> None:
        self._model = models("Model")
        self._assistant = build_assistant(models)
        self._orchestrator = build_orchestrator(models, sources)
        self._handler = handler
        self._lock = threading.Lock()
        self._history: defaultdict[str, list[BaseMessage]] = defaultdict(list)
        self._ways = {"SIMPLE": self._ask_model, "TOOL": self._ask_assistant, "RAG": self._ask_orchestrator}

    def ask(
        self,
        question: str,
        *,
        session: str,
        mode: str,
        channel: str = "web",
        on_piece: Callable[[str], object] = lambda _: None,
        budgets: Sequence[Budget] = (),
    ) -> Conversation:
        """Have one conversation, from its start to its end.

        Arguments:
            question: What is asked.
            session: Whose chat it belongs to.
            mode: SIMPLE, TOOL or RAG.
            channel: Where the question comes from; kept with its tokens.
            on_piece: Told each piece of an answer that is streamed.
            budgets: Limits for this conversation; one that stops ends it with a sentence that says so.

        """
        task = Task(question=question, mode=mode, session=session)
        name, tags = f"{mode} conversation", {"channel": channel}
        with track(session=session, mode=mode, run=name, tags=tags, budgets=budgets) as run:
            try:
                answer, findings = self._ways[mode](task, on_piece)
            except BudgetExceeded:
                answer, findings = _REFUSED, []
        with self._lock:
            self._history[session] += [HumanMessage(question), AIMessage(answer)]
        return Conversation(question=question, answer=answer, findings=findings, run=run)

    def forget(self, session: str) -> int:
        """Delete a chat, with all rows about its tokens; tells how many those were."""
        with self._lock:
            self._history.pop(session, None)
        return self._handler.store.delete(session=session)

    def _ask_model(self, task: Task, on_piece: Callable[[str], object]) -> tuple[str, list[tuple[str, str]]]:
        with self._lock:
            before = list(self._history[task["session"]])
        messages = [introduction("Model", task["mode"], task["session"]), *before, HumanMessage(task["question"])]
        pieces = []
        for piece in self._model.stream(messages, {"callbacks": [self._handler], "run_name": "chatting"}):
            pieces.append(str(piece.text))
            on_piece(pieces[-1])
        return "".join(pieces), []

    def _ask_assistant(self, task: Task, _: Callable[[str], object]) -> tuple[str, list[tuple[str, str]]]:
        state = self._assistant.invoke(task, {"callbacks": [self._handler]})
        return "".join(text for name, text in state["findings"] if name == ASSISTANT), []

    def _ask_orchestrator(self, task: Task, _: Callable[[str], object]) -> tuple[str, list[tuple[str, str]]]:
        state = self._orchestrator.invoke(task, {"callbacks": [self._handler]})
        return state["answer"], state["findings"]
