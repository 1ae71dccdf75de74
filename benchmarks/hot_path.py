"""What does the handler cost the host? Each way of running, against no handler, empty handlers and LangChain's own.

All handlers are visited in turn in one process, many rounds, so that a noisy machine hits them alike. For each way it
prints the median microseconds of one run, what a handler adds to no handler, and the ratio of that to what LangChain's
`UsageMetadataCallbackHandler` adds. Tracers of others that are installed are in it, sending to a collector on this
machine. Run: `python -m benchmarks.hot_path [--rounds 15] [--no-peers]`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from benchmarks.peers import collector, installed
from langchain_tokens import TokenUsageHandler

CHUNKS = 100
QUESTION: list[BaseMessage] = [HumanMessage("What is the weather in Paris today?")]
USAGE: Any = {
    "input_tokens": 1200,
    "output_tokens": 340,
    "total_tokens": 1540,
    "input_token_details": {"cache_read": 800},
    "output_token_details": {"reasoning": 120},
}
META = {"model_name": "gpt-4o-mini", "finish_reason": "stop"}


class InstantModel(BaseChatModel):
    """A chat model that takes no time, so that what is left is the framework and the handler."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini", "ls_model_type": "chat"}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        message = AIMessage(content="It rains.", usage_metadata=dict(USAGE), response_metadata=dict(META))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks():
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks():
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _chunks() -> Iterator[ChatGenerationChunk]:
    for _ in range(CHUNKS - 1):
        yield ChatGenerationChunk(message=AIMessageChunk(content="rain "))
    last = AIMessageChunk(content=".", usage_metadata=USAGE, response_metadata=dict(META), chunk_position="last")
    yield ChatGenerationChunk(message=last)


class EmptyHandler(BaseCallbackHandler):
    """Overrides the hooks that ours overrides, and does nothing."""

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_chain_start(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_chain_end(self, *_: Any, **__: Any) -> None:
        """Nothing."""


class EmptyInlineHandler(EmptyHandler):
    """The same on the event loop's thread."""

    run_inline = True


class State(TypedDict):
    """What the graph's nodes hand on."""

    messages: Annotated[list[BaseMessage], add_messages]


def make_graph(model: BaseChatModel) -> Any:
    """Three nodes in a row, one call each."""

    def ask(state: State) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"][:1])]}

    graph = StateGraph(State)
    names = ("plan", "search", "write")
    for name in names:
        graph.add_node(name, ask)
    for start, end in zip((START, *names), (*names, END), strict=True):
        graph.add_edge(start, end)
    return graph.compile(name="bench")


def ways() -> Mapping[str, tuple[int, Callable[[list[Any]], object]]]:
    """Way of running → how many runs make a round, and one run with given callbacks."""
    model = InstantModel()
    graph = make_graph(model)
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | model | StrOutputParser()
    loop = asyncio.new_event_loop()

    async def astream(callbacks: list[Any]) -> None:
        async for _ in model.astream(QUESTION, config={"callbacks": callbacks}):
            pass

    def stream(callbacks: list[Any]) -> None:
        for _ in model.stream(QUESTION, config={"callbacks": callbacks}):
            pass

    return {
        "invoke": (200, lambda callbacks: model.invoke(QUESTION, config={"callbacks": callbacks})),
        "ainvoke": (
            200,
            lambda callbacks: loop.run_until_complete(model.ainvoke(QUESTION, config={"callbacks": callbacks})),
        ),
        "chain": (60, lambda callbacks: chain.invoke({"q": "rain?"}, config={"callbacks": callbacks})),
        "graph of 3": (30, lambda callbacks: graph.invoke({"messages": QUESTION}, config={"callbacks": callbacks})),
        "stream of 100": (20, stream),
        "astream of 100": (20, lambda callbacks: loop.run_until_complete(astream(callbacks))),
    }


def measure(runs: int, run: Callable[[list[Any]], object], callbacks: list[Any]) -> float:
    """Median microseconds of one run, in one round."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run(callbacks)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--no-peers", action="store_true")
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        collector() as url,
        TokenUsageHandler(Path(folder) / "bench.db") as ours,
        TokenUsageHandler(Path(folder) / "inspected.db", inspect_inputs=True) as inspecting,
        TokenUsageHandler(Path(folder) / "captured.db", capture_content=True) as capturing,
    ):
        handlers: dict[str, list[Any]] = {
            "none": [],
            "empty": [EmptyHandler()],
            "empty inline": [EmptyInlineHandler()],
            "UsageMetadata": [UsageMetadataCallbackHandler()],
            "langchain_tokens": [ours],
            "… inspect_inputs": [inspecting],
            "… capture_content": [capturing],
            **({} if chosen.no_peers else installed(url)),
        }
        for name, (runs, run) in ways().items():
            results: dict[str, list[float]] = {handler: [] for handler in handlers}
            for _ in range(chosen.rounds):
                gc.collect()
                for handler, callbacks in handlers.items():
                    results[handler].append(measure(runs, run, callbacks))
                ours.flush()
                inspecting.flush()
                capturing.flush()
            _print(name, results)


def _print(way: str, results: Mapping[str, list[float]]) -> None:
    bases = results["none"]
    added = {
        name: statistics.median(value - base for value, base in zip(values, bases, strict=True))
        for name, values in results.items()
    }
    reference = added["UsageMetadata"]
    sys.stdout.write(f"\n{way}\n{'handler':<20}{'µs a run':>10}{'µs added':>10}{'of Usage':>10}\n")
    for name, values in results.items():
        ratio = f"{added[name] / reference:.2f}" if name != "none" and reference > 0 else ""
        sys.stdout.write(f"{name:<20}{statistics.median(values):>10.0f}{added[name]:>10.0f}{ratio:>10}\n")


if __name__ == "__main__":
    main()
