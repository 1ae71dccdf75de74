"""Who answers, and who stores, in a test? Scripted chat models, a graph around them, and stores that are in trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from langchain_tokens import UsageStore
from langchain_tokens.call import Call, RunFact
from langchain_tokens.said import ContentFact
from langchain_tokens.store.target import parse_target

__all__ = (
    "MODEL_NAME",
    "FailingStore",
    "Reply",
    "Script",
    "ScriptedChat",
    "StreamingChat",
    "StuckStore",
    "acknowledged_graph",
    "in_turn",
)

MODEL_NAME = "gpt-4o-mini"
Script = Callable[[list[BaseMessage]], "Reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answers to one prompt."""

    text: str = "a short answer"
    usage: Any = field(default_factory=lambda: {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})
    """Handed over as it is, whatever it is; None where the provider says nothing."""
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"model_name": MODEL_NAME})
    """The message's response metadata."""
    tool_calls: tuple[str, ...] = ()
    breaks_off: Exception | None = None
    """Raised by a streaming model after the text, before the usage."""


def in_turn(*replies: Reply | BaseException) -> Script:
    """A script that gives these replies one after the other, again and again; an error is raised."""
    ever = cycle(replies or (Reply(),))

    def script(_: list[BaseMessage]) -> Reply:
        reply = next(ever)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    return script


class ScriptedChat(BaseChatModel):
    """An offline chat model that answers by its script and names itself gpt-4o-mini of openai, so that it has a price."""

    script: Callable[[list[BaseMessage]], Any] = in_turn()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, *_: Any, **__: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="openai", ls_model_name=MODEL_NAME, ls_model_type="chat")

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        reply = self.script(messages)
        calls = [{"name": name, "args": {}, "id": f"call_{place}"} for place, name in enumerate(reply.tool_calls)]
        message = AIMessage(content=reply.text, tool_calls=calls, response_metadata=dict(reply.metadata))
        message.usage_metadata = reply.usage  # set here, since the constructor would refuse what providers send
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)


class StreamingChat(ScriptedChat):
    """The same, and it streams: a piece for each word, then one with the usage and the metadata."""

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        reply = self.script(messages)
        for word in reply.text.split():
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + " "))
        if reply.breaks_off is not None:
            raise reply.breaks_off
        last = AIMessageChunk(content="", response_metadata=dict(reply.metadata), chunk_position="last")
        last.usage_metadata = reply.usage
        yield ChatGenerationChunk(message=last)


class Asked(TypedDict, total=False):
    """The state of the graph below."""

    question: str
    call_ids: list[str]


def acknowledged_graph(model: BaseChatModel) -> CompiledStateGraph[Asked, None, Asked, Asked]:
    """A graph of two steps, `plan` and `answer`, that returns the ids of the calls it made."""

    def step(state: Asked) -> Asked:
        call_id = uuid4()
        model.invoke(state["question"], {"run_id": call_id})
        return {"call_ids": [*state.get("call_ids", []), str(call_id)]}

    builder = StateGraph(Asked)
    builder.add_node("plan", step)
    builder.add_node("answer", step)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "answer")
    builder.add_edge("answer", END)
    return builder.compile(name="assistant")


class StuckStore(UsageStore):
    """A store whose writes do not come back before `let_go` is set, or a minute has passed, so that no test hangs."""

    def __init__(self, path: Path) -> None:
        super().__init__(parse_target(path))
        self.let_go = threading.Event()
        self.reached = threading.Event()
        self.threads: set[str] = set()
        """The names of the threads that wrote."""

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Wait, then store."""
        self.threads.add(threading.current_thread().name)
        self.reached.set()
        self.let_go.wait(60)
        super().add(calls, runs, contents)


class FailingStore(UsageStore):
    """A store whose writes raise `trouble` while there is one."""

    def __init__(self, path: Path) -> None:
        super().__init__(parse_target(path))
        self.trouble: Exception | None = RuntimeError("the store is on fire")
        self.reached = threading.Event()

    def add(self, calls: Sequence[Call], runs: Sequence[RunFact] = (), contents: Sequence[ContentFact] = ()) -> None:
        """Raise, or store."""
        self.reached.set()
        if self.trouble is not None:
            raise self.trouble
        super().add(calls, runs, contents)
