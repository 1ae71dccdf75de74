"""Calls whose usage nobody reports: estimated in the background from what was sent and what arrived, and marked so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda

from langchain_tokens import Call, TokenUsageHandler, open_store
from langchain_tokens.codec import decode, encode
from langchain_tokens.content import Pieces
from langchain_tokens.estimate import Arrived
from langchain_tokens.refining import Refiner, make_estimator
from langchain_tokens.trouble import Warnings

TOKENIZERS = Path(__file__).resolve().parents[2] / "shared" / "tiktoken_cache"
QUESTION = "How many customers do we have in Mumbai, and how many of them ordered twice?"


class Silent(BaseChatModel):
    """A model that says no usage, and streams its answer in pieces."""

    model_name: str = "gpt-4o"
    pieces: tuple[str, ...] = ("There are ", "forty-two ", "of them.")
    usage: Any = None
    fails: bool = False
    waits: bool = False

    @property
    def _llm_type(self) -> str:
        return "silent"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model_name, "ls_model_type": "chat"}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.fails:
            raise ValueError("refused")
        message = AIMessage("".join(self.pieces), usage_metadata=self.usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.waits:
            await asyncio.Event().wait()
        return self._generate(messages)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces:
            chunk = ChatGenerationChunk(message=AIMessageChunk(piece))
            if run_manager is not None:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        if self.fails:
            raise ValueError("broken off")


@pytest.fixture
def tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point to the tokenizers' tables beside the checkout."""
    if not TOKENIZERS.exists():
        pytest.skip("no shared/tiktoken_cache beside the checkout")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(TOKENIZERS))


@pytest.fixture
def no_tokenizers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point to a folder without any tables."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})  # what another test may have loaded


def only_call(handler: TokenUsageHandler) -> Call:
    """Return the one call, which memory and store hold alike."""
    assert handler.last_run is not None
    (held,) = handler.last_run.calls
    assert handler.flush()
    (stored,) = handler.store.calls()
    assert held == stored
    return stored


def counts(call: Call) -> tuple[int | None, int | None, int | None]:
    """Return input, output and total."""
    assert call.usage is not None
    return call.usage.input_tokens, call.usage.output_tokens, call.usage.total_tokens


@pytest.mark.usefixtures("tokenizers")
def test_answer_without_usage_is_estimated(tmp_path: Path) -> None:
    """A finished call without usage gets counts by the model's own encoding, marked as an estimate, and a price."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        Silent().invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
        assert handler.breakdown().total.estimated_calls == 1
    # 17 tokens of text, 3 around a message, 1 role and 3 that prime the reply are what OpenAI's own recipe gives.
    assert counts(call)[0] in range(20, 27)
    assert counts(call)[1] in range(6, 11)
    assert counts(call)[2] == sum(count or 0 for count in counts(call)[:2])
    assert call.usage_source == "estimated"
    assert {"estimated_input:o200k_base", "estimated_output:o200k_base"} <= set(call.usage_flags)
    assert call.price_status == "priced"
    assert call.cost_usd


def test_estimates_can_be_switched_off(tmp_path: Path) -> None:
    """Without estimates what nobody says stays unknown."""
    with TokenUsageHandler(tmp_path / "t.db", estimate=False) as handler:
        Silent().invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    assert (call.usage, call.usage_source, call.cost_usd, call.estimate_basis) == (None, "missing", None, None)


def test_said_usage_is_never_estimated(tmp_path: Path) -> None:
    """Where the provider says its usage nothing is estimated, and nothing is kept to estimate it from."""
    usage = {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        Silent(usage=usage).invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    assert (counts(call), call.usage_source, call.estimate_basis) == ((1, 0, 1), "provider", None)


@pytest.mark.usefixtures("no_tokenizers")
def test_without_tables_characters_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the tokenizer's tables and the network, an estimate by characters, and one warning that says what to do."""
    with caplog.at_level(logging.WARNING), TokenUsageHandler(tmp_path / "t.db") as handler:
        for _ in range(3):
            Silent().invoke(QUESTION, config={"callbacks": [handler]})
        assert handler.flush()
        calls = handler.store.calls()
    assert {call.usage_source for call in calls} == {"estimated"}
    assert all("estimated_input:characters/4" in call.usage_flags for call in calls)
    warned = [record.getMessage() for record in caplog.records if "TIKTOKEN_CACHE_DIR" in record.getMessage()]
    assert len(warned) == 1


@pytest.mark.usefixtures("tokenizers")
def test_abandoned_stream_is_estimated_as_far_as_it_came(tmp_path: Path) -> None:
    """A stream that is given up counts what was sent and the pieces that had arrived."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        stream = Silent().stream(QUESTION, config={"callbacks": [handler]})
        next(stream)
        stream.close()
        call = only_call(handler)
    assert call.status == "cancelled"
    assert call.usage_source == "estimated"
    given, answered, _ = counts(call)
    assert given is not None
    assert given > 15
    assert answered is not None
    assert 0 < answered < 6
    assert call.wasted_cost_usd == call.cost_usd


class Untold(Silent):
    """The same; nobody is told of its pieces but by the stream itself."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return super()._stream(messages, stop)


@pytest.mark.filterwarnings("ignore:.*is in beta")
@pytest.mark.usefixtures("tokenizers")
async def test_event_stream_that_was_given_up_is_estimated(tmp_path: Path) -> None:
    """A v3 stream that the caller gave up counts what had arrived until then, also what the caller had not taken."""
    model = Untold()
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        stream = await model.astream_events(QUESTION, {"callbacks": [handler]}, version="v3")
        texts = []
        async for event in stream:
            if event["event"] == "content-block-delta":
                texts.append(event["delta"]["text"])
            if len(texts) == 2:
                break
        await stream.aclose()
        call = only_call(handler)
    assert (call.status, call.usage_source) == ("cancelled", "estimated")
    estimator = make_estimator(Warnings())
    arrived = [Arrived(text="".join(model.pieces[:count])) for count in (2, 3)]
    assert counts(call)[1] in [estimator.estimate_output(one, model.model_name, "openai").tokens for one in arrived]


def test_pieces_that_are_told_twice_count_once() -> None:
    """Where a client tells of each piece that is an event as well, either is kept."""
    piece = ChatGenerationChunk(message=AIMessageChunk("hi "))
    event = {"event": "content-block-delta", "delta": {"type": "text-delta", "text": "hi "}}
    for is_event_first in (False, True):
        pieces = Pieces()
        for is_event in (is_event_first, not is_event_first) * 2:
            if is_event:
                pieces.add_event(event)
            else:
                pieces.add("hi ", piece)
        assert pieces.arrived().text == "hi hi "


def test_event_stream_is_estimated_with_its_reasoning_and_tools() -> None:
    """Events hold text, reasoning, and calls of tools with the name at their beginning; others add nothing."""
    pieces = Pieces()
    for event in (
        {"event": "content-block-start", "content": {"type": "text", "text": ""}},
        {"event": "content-block-delta", "delta": {"type": "text-delta", "text": "hi"}},
        {"event": "content-block-delta", "delta": {"type": "reasoning-delta", "reasoning": "hm"}},
        {"event": "content-block-start", "content": {"type": "tool_call_chunk", "name": "find", "args": ""}},
        {"event": "content-block-delta", "delta": {"type": "tool-call-delta", "args": "{}"}},
        {"event": "content-block-delta", "delta": None},
    ):
        pieces.add_event(event)
    arrived = pieces.arrived()
    assert (arrived.text, arrived.reasoning) == ("hi", "hm")
    assert [(call.get("name"), call["args"]) for call in arrived.tool_calls] == [("find", ""), (None, "{}")]


@pytest.mark.usefixtures("tokenizers")
async def test_cancelled_call_is_estimated_by_what_was_sent(tmp_path: Path) -> None:
    """A cancelled call that LangChain never ends counts what was sent; nothing had arrived, and a flag says so."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        chain = RunnableLambda(lambda text: text) | Silent(waits=True)
        task = asyncio.create_task(chain.ainvoke(QUESTION, config={"callbacks": [handler]}))
        while not handler._capture.runs._calls:  # noqa: ASYNC110  # nothing tells that a hook was called
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        call = only_call(handler)
    assert (call.status, call.usage_source) == ("cancelled", "estimated")
    assert counts(call)[0] in range(20, 27)
    assert counts(call)[1] == 0
    assert "estimated_output:nothing_arrived" in call.usage_flags


def test_refused_call_is_not_estimated(tmp_path: Path) -> None:
    """A call that failed before anything arrived was billed by nobody, as far as anybody knows."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        with pytest.raises(ValueError, match="refused"):
            Silent(fails=True).invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    assert (call.status, call.usage, call.usage_source) == ("error", None, "missing")


@pytest.mark.usefixtures("tokenizers")
def test_stream_that_breaks_off_is_estimated(tmp_path: Path) -> None:
    """A stream that fails after pieces had arrived was answered, and is estimated as far as it came."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        with pytest.raises(ValueError, match="broken off"):
            list(Silent(fails=True).stream(QUESTION, config={"callbacks": [handler]}))
        call = only_call(handler)
    assert (call.status, call.usage_source) == ("error", "estimated")
    assert counts(call)[1] in range(5, 11)


@pytest.mark.usefixtures("tokenizers")
def test_half_known_usage_keeps_what_was_said(tmp_path: Path) -> None:
    """An output that the provider said stays; only the input that the client lost is estimated."""
    lost: Any = {"input_tokens": 0, "output_tokens": 7, "total_tokens": 7, "input_token_details": {}}
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        Silent(usage=lost).invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    assert counts(call)[1] == 7
    assert counts(call)[0] in range(20, 27)
    assert call.usage_source == "estimated"
    assert {"input_missing", "estimated_input:o200k_base"} <= set(call.usage_flags)
    assert not any(flag.startswith("estimated_output") for flag in call.usage_flags)


@pytest.mark.usefixtures("tokenizers")
def test_zeros_beside_an_answer_are_estimated(tmp_path: Path) -> None:
    """Where all counts are said to be 0 though there is an answer they are estimated, and a check finds nothing."""
    zeros: Any = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        Silent(usage=zeros).invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    assert counts(call)[1] in range(5, 11)
    assert call.usage_source == "estimated"
    assert "usage_missing" in call.usage_flags
    assert handler.store.check().is_clean


def test_messages_are_not_kept_after_the_call(tmp_path: Path) -> None:
    """Nothing of a conversation is held once its call is stored, and nothing of it is in the database's files."""
    import gc
    import weakref

    class Marked(HumanMessage):
        """A message that can be watched."""

    handler = TokenUsageHandler(tmp_path / "t.db")
    message = Marked("top secret question")
    gone = weakref.ref(message)
    Silent(pieces=("top secret answer",)).invoke([message], config={"callbacks": [handler]})
    assert handler.flush()
    assert handler.last_run is not None
    assert handler.last_run.calls[0].usage_source == "estimated"
    del message
    gc.collect()
    assert gone() is None
    handler.close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"top secret" not in file.read_bytes()


@pytest.mark.usefixtures("tokenizers")
def test_recovered_call_gets_a_rougher_estimate(tmp_path: Path) -> None:
    """A call of which a killed process left only the journal's line is estimated from its numbers of characters."""
    with TokenUsageHandler(tmp_path / "t.db", estimate=False) as handler:
        Silent().invoke(QUESTION, config={"callbacks": [handler]})
        call = only_call(handler)
    line = encode(replace(call, estimate_basis={"sent_characters": 400, "arrived_characters": 40}))
    journal = tmp_path / "t.db.pending"
    journal.mkdir(exist_ok=True)
    recovered = decode(line)
    assert isinstance(recovered, Call)
    refined = Refiner(lambda known: known, make_estimator(Warnings()))(recovered)
    assert counts(refined) == (100, 10, 110)
    assert {"estimated_input:characters", "estimated_output:characters"} <= set(refined.usage_flags)


def test_same_estimate_in_memory_and_in_the_store_at_any_moment(tmp_path: Path) -> None:
    """A reader who looks before the writer thread has come to a call sees the same numbers that are stored."""
    with TokenUsageHandler(tmp_path / "t.db") as handler:
        for _ in range(20):
            Silent().invoke(QUESTION, config={"callbacks": [handler]})
            assert handler.breakdown().total.estimated_calls == len(handler.runs)
        seen = handler.breakdown("model")
        assert handler.flush()
        assert open_store(tmp_path / "t.db").breakdown("model") == seen
