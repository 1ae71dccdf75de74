"""Models that answer by a script: every answer, failure, wait and usage is decided by the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult
from langchain_core.utils.uuid import uuid7
from pydantic import PrivateAttr

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
"""What every answered call uses."""


class ScriptedError(Exception):
    """What a scripted model fails with."""


class Gate:
    """A point that a call waits at until the test lets it go on; in threads and in tasks."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def wait(self) -> None:
        """Wait in a thread."""
        self.entered.set()
        assert self.released.wait(20), "nobody opened the gate"

    async def await_release(self) -> None:
        """Wait in a task."""
        event = asyncio.Event()
        self._tasks.append((asyncio.get_running_loop(), event))
        self.entered.set()
        if not self.released.is_set():
            await event.wait()

    def release(self) -> None:
        """Let all go on."""
        self.released.set()
        for loop, event in self._tasks:
            loop.call_soon_threadsafe(event.set)

    async def await_entered(self) -> None:
        """Wait until a call has come here."""
        await asyncio.to_thread(self.entered.wait, 20)


Step = str | AIMessage | BaseException | Callable[[Sequence[BaseMessage]], Any]
"""An answer's text, a whole answer, a failure, or what makes one of them from the messages."""


def calling(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    """An answer that asks for tools: (name, arguments) each."""
    return AIMessage(
        content="",
        tool_calls=[tool_call(name=name, args=arguments, id=f"call_{uuid7()}") for name, arguments in calls],
    )


class ScriptedModel(BaseChatModel):
    """A chat model that takes one step of its script for each call, and stays at the last.

    It streams in three pieces, with the usage on the last one.
    """

    model_name: str = "scripted"
    steps: tuple[Any, ...] = ("answer",)
    usage: dict[str, Any] | None = USAGE
    gate: Any = None
    has_stream: bool = True
    _calls: int = PrivateAttr(default=0)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def calls(self) -> int:
        """How often the model was asked: the requests that a provider would charge for."""
        return self._calls

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedModel:
        return self

    def _answer(self, messages: Sequence[BaseMessage]) -> AIMessage:
        with self._lock:
            step: Any = self.steps[min(self._calls, len(self.steps) - 1)]
            self._calls += 1
        if not isinstance(step, (str, AIMessage, BaseException)):
            step = step(messages)
        if isinstance(step, BaseException):
            raise step
        said = AIMessage(content=step) if isinstance(step, str) else step
        return said.model_copy(
            update={"usage_metadata": self.usage, "response_metadata": {"model_name": self.model_name}}
        )

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.gate is not None:
            self.gate.wait()
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.gate is not None:
            await self.gate.await_release()
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])


class StreamingModel(ScriptedModel):
    """A scripted model that can stream."""

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        if self.gate is not None:
            self.gate.wait()
        for chunk in _pieces(self._answer(messages)):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.gate is not None:
            await self.gate.await_release()
        for chunk in _pieces(self._answer(messages)):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            await asyncio.sleep(0)


def _pieces(answer: AIMessage) -> Iterator[ChatGenerationChunk]:
    text = str(answer.content)
    half = len(text) // 2
    yield ChatGenerationChunk(message=AIMessageChunk(content=text[:half]))
    asked = [
        tool_call_chunk(name=call["name"], args=_json(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(answer.tool_calls)
    ]
    yield ChatGenerationChunk(message=AIMessageChunk(content=text[half:], tool_call_chunks=asked))
    yield ChatGenerationChunk(
        message=AIMessageChunk(
            content="",
            usage_metadata=answer.usage_metadata,
            response_metadata=answer.response_metadata,
            chunk_position="last",
        )
    )


def _json(arguments: dict[str, Any]) -> str:
    import json

    return json.dumps(arguments)


class DelegatingModel(BaseChatModel):
    """A chat model that asks another one and hands its answer on, usage and all."""

    inner: Any
    model_name: str = "delegating"

    @property
    def _llm_type(self) -> str:
        return "delegating"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.inner.invoke(messages))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=await self.inner.ainvoke(messages))])


class SeveralAnswersModel(ScriptedModel):
    """A chat model that gives two answers to each prompt, both carrying the usage of the whole call."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        generations = [ChatGeneration(message=self._answer(messages)) for _ in range(2)]
        return ChatResult(
            generations=generations, llm_output={"token_usage": self.usage, "model_name": self.model_name}
        )


class RepeatingModel(ScriptedModel):
    """A chat model that hands out one message object again and again, so that its second answer has the first's id."""

    _message: Any = PrivateAttr(default=None)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self._message is None:
            self._message = self._answer(messages)
        return ChatResult(generations=[ChatGeneration(message=self._message)])


class OvertakenModel(RepeatingModel):
    """A repeating model whose first call ends after its second."""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if not self.gate.entered.is_set():
            await self.gate.await_release()
            return self._generate(messages)
        answer = self._generate(messages)
        self.gate.release()
        return answer


class TextModel(BaseLLM):
    """A model of the older kind: text in, text out, one request for all prompts of a batch."""

    usage: dict[str, int] | None = None
    model_name: str = "text"

    @property
    def _llm_type(self) -> str:
        return "text"

    def _generate(self, prompts: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        output = {"token_usage": self.usage, "model_name": self.model_name} if self.usage is not None else None
        return LLMResult(generations=[[Generation(text="answer")] for _ in prompts], llm_output=output)
