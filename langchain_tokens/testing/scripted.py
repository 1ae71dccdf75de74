"""What does a chat model answer in a test? What its script says: texts, tool calls, errors, each with its usage."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, PrivateAttr

from langchain_tokens.errors import TokensError
from langchain_tokens.estimate import Arrived, Estimator, Sent
from langchain_tokens.trouble import Warnings

__all__ = ("Answer", "ScriptEndedError", "ScriptedChatModel", "calling")

Answer = str | AIMessage | BaseException | type[BaseException] | Callable[[Sequence[BaseMessage]], Any]
"""A text, a whole message, an error to raise, or what makes one of them of the messages that the model was sent."""
UsageRule = Literal["count"] | tuple[int, int] | Mapping[str, Any] | None


class ScriptEndedError(TokensError):
    """Raised when a scripted model is asked once more than its script has answers."""


def calling(*calls: tuple[str, Mapping[str, Any]]) -> AIMessage:
    """Make an answer that asks for tools: `calling(("search", {"query": "cats"}))`."""
    asked = [tool_call(name=name, args=dict(arguments), id=f"call_{uuid4().hex[:12]}") for name, arguments in calls]
    return AIMessage(content="", tool_calls=asked)


class ScriptedChatModel(BaseChatModel):
    """A chat model that answers by a script: no key, no network, the same each time. Thread-safe.

    It can do what a provider's model can: `invoke`, `ainvoke`, `batch`, `stream` and `astream` (word by word, the usage
    on the last piece), `bind_tools`, and it is priced as the model that it stands in for.

    Args:
        answers: a single answer is given to every call; of a list, each call takes the next, and a call beyond its end
            raises `ScriptEndedError`. An answer is a text, an `AIMessage` (tool calls: `calling(...)`), an exception to
            raise, or a function of the messages that returns one of these.
        usage: `"count"` counts what is really sent and answered with tiktoken; `(input, output)` are the counts of
            every call, a mapping is its whole `usage_metadata`; None says nothing, as some servers do. An `AIMessage`
            with usage of its own keeps it.
        model: the model that it stands in for.
        provider: whose model that is; None says nothing.
        latency_seconds: how long each call takes.
        more: what every chat model of LangChain takes, such as `name`, `tags`, `metadata` or `cache`.

    Raises:
        TokensError: for a list without answers, a usage of another kind, or a latency below 0.

    """

    model_config = ConfigDict(extra="forbid")

    answers: Any = "ok"
    usage: Any = "count"
    model: str = "gpt-4o-mini"
    provider: str | None = "openai"
    latency_seconds: float = 0.0
    _requests: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _estimator: Any = PrivateAttr(default_factory=lambda: Estimator(Warnings()))

    def __init__(
        self,
        answers: Answer | Sequence[Answer] = "ok",
        *,
        usage: UsageRule = "count",
        model: str = "gpt-4o-mini",
        provider: str | None = "openai",
        latency_seconds: float = 0.0,
        **more: Any,
    ) -> None:
        _check_script(answers, usage, latency_seconds)
        more |= {"answers": answers, "usage": usage, "model": model, "provider": provider}
        more["latency_seconds"] = latency_seconds
        super().__init__(**more)

    @property
    def requests(self) -> Sequence[Sequence[BaseMessage]]:
        """The messages of every call so far, failed ones too."""
        with self._lock:
            return [list(messages) for messages in self._requests]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, *_: Any, **__: Any) -> LangSmithParams:
        params = LangSmithParams(ls_model_name=self.model, ls_model_type="chat")
        if self.provider is not None:
            params["ls_provider"] = self.provider
        return params

    def bind_tools(self, tools: Sequence[Any], **more: Any) -> Runnable[Any, AIMessage]:
        """Offer tools; the script decides whether they are called, and their definitions count as input."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **more)

    def _generate(self, messages: list[BaseMessage], *_: Any, **more: Any) -> ChatResult:
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, more))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **more: Any) -> ChatResult:
        await asyncio.sleep(self.latency_seconds)
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, more))])

    def _stream(self, messages: list[BaseMessage], *_: Any, **more: Any) -> Iterator[ChatGenerationChunk]:
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        yield from _pieces(self._answer(messages, more))

    async def _astream(self, messages: list[BaseMessage], *_: Any, **more: Any) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.latency_seconds)
        for piece in _pieces(self._answer(messages, more)):
            yield piece

    def _answer(self, messages: Sequence[BaseMessage], more: Mapping[str, Any]) -> AIMessage:
        step = self._next_step(messages)
        if callable(step) and not isinstance(step, type):
            step = step(messages)
        if isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException)):
            raise step
        if not isinstance(step, str | AIMessage):
            raise TokensError(f"the script answers with a {type(step).__name__}; expected text, AIMessage or exception")
        said = AIMessage(content=step) if isinstance(step, str) else step
        known = {"model_name": self.model, "finish_reason": "tool_calls" if said.tool_calls else "stop"}
        if self.provider is not None:
            known["model_provider"] = self.provider
        usage = said.usage_metadata or self._usage_of(messages, said, more.get("tools") or ())
        return said.model_copy(
            update={"usage_metadata": usage, "response_metadata": {**known, **said.response_metadata}}
        )

    def _next_step(self, messages: Sequence[BaseMessage]) -> Any:
        with self._lock:
            number = len(self._requests)
            self._requests.append(list(messages))
        if not isinstance(self.answers, list | tuple):
            return self.answers
        if number >= len(self.answers):
            raise ScriptEndedError(f"call {number + 1} to a model whose script has {len(self.answers)} answers")
        return self.answers[number]

    def _usage_of(self, messages: Sequence[BaseMessage], said: AIMessage, tools: Sequence[Any]) -> Any:
        if self.usage is None or isinstance(self.usage, Mapping):
            return None if self.usage is None else dict(self.usage)
        if self.usage == "count":
            sent = Sent(messages=messages, tools=tools)
            arrived = Arrived(text=str(said.text), tool_calls=said.tool_calls)
            given = self._estimator.estimate_input(sent, self.model, self.provider).tokens
            answered = self._estimator.estimate_output(arrived, self.model, self.provider).tokens
        else:
            given, answered = self.usage
        return {"input_tokens": given, "output_tokens": answered, "total_tokens": given + answered}


def _pieces(answer: AIMessage) -> Iterator[ChatGenerationChunk]:
    """An answer as it is streamed: its words, then its tool calls, then its usage."""
    content = answer.content
    for part in re.findall(r"\s*\S+|\s+$", content) if isinstance(content, str) else [content]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=part))
    asked = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(answer.tool_calls)
    ]
    if asked or answer.additional_kwargs:
        more = AIMessageChunk(content="", tool_call_chunks=asked, additional_kwargs=answer.additional_kwargs)
        yield ChatGenerationChunk(message=more)
    last = AIMessageChunk(
        content="",
        usage_metadata=answer.usage_metadata,
        response_metadata=answer.response_metadata,
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)


def _check_script(answers: object, usage: object, latency_seconds: float) -> None:
    if isinstance(answers, list | tuple) and not answers:
        raise TokensError("a script without answers; expected one answer, or a list of at least one")
    is_pair = isinstance(usage, tuple) and [type(count) for count in usage] == [int, int]
    if not (usage is None or usage == "count" or is_pair or isinstance(usage, Mapping)):
        raise TokensError(f"usage={usage!r}; expected 'count', (input, output), a mapping as usage_metadata, or None")
    if latency_seconds < 0:
        raise TokensError(f"latency_seconds={latency_seconds!r}; expected seconds from 0 on")
