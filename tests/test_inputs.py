"""What fills the input, and was the same asked before? Parts that add up to the provider's count, and digests."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_tokens import Call, TokensError, TokenUsageHandler, open_store
from langchain_tokens.codec import decode, encode
from langchain_tokens.estimate import Estimator, Sent
from langchain_tokens.inputs import PARTS, apportioned, input_parts, prompt_mark
from langchain_tokens.trouble import Warnings
from tests.conformance.builders import config
from tests.conformance.models import ScriptedError, ScriptedModel

WORD = "seventeen "
CALLS = [{"name": "search", "args": {"q": "weather"}, "id": "1", "type": "tool_call"}]
TOOL = {"type": "function", "function": {"name": "search", "description": WORD * 9, "parameters": {}}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": WORD * 5}
CONVERSATION = [
    SystemMessage(WORD * 10),
    HumanMessage(WORD * 4),
    AIMessage("", tool_calls=CALLS),
    ToolMessage(WORD * 20, tool_call_id="1"),
    HumanMessage(WORD * 2),
]


@pytest.fixture(autouse=True)
def _no_tokenizers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Count characters: shares need no tables, which take long to load."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})  # what another test may have loaded


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    """Counts."""
    return Estimator(Warnings())


def parts_of(estimator: Estimator, messages: Sequence[Any], total: int = 1_000, **more: Any) -> dict[str, int]:
    """The parts of a question to one of OpenAI's models."""
    return input_parts(estimator, Sent(messages=messages, **more), "gpt-4o", "openai", total)


def mark_of(*messages: Any, **parameters: Any) -> str | None:
    """The mark of a question."""
    return prompt_mark(messages, parameters, "gpt-4o", "openai")


# How a number is split


@given(st.dictionaries(st.sampled_from(PARTS), st.integers(0, 10**9)), st.integers(0, 10**12))
def test_parts_add_up(weights: dict[str, int], total: int) -> None:
    """Whatever the weights, whole parts add up to the number, none is negative, none is off by more than one."""
    parts = apportioned(weights, total)
    assert sum(parts.values()) == total
    assert min(parts.values(), default=1) > 0
    whole = sum(weights.values())
    for name, weight in weights.items() if whole else ():
        assert abs(parts.get(name, 0) * whole - total * weight) < whole


@pytest.mark.parametrize(
    ("weights", "total", "parts"),
    [
        ({"system": 1, "tools": 1, "human": 1}, 10, {"system": 4, "tools": 3, "human": 3}),
        ({"system": 1, "human": 2}, 1, {"human": 1}),
        ({"system": 0, "human": 3}, 7, {"human": 7}),
        ({"system": 0}, 7, {"other": 7}),
        ({}, 0, {}),
        ({"human": 5}, 0, {}),
    ],
)
def test_remainders_go_to_the_largest(weights: dict[str, int], total: int, parts: dict[str, int]) -> None:
    """What rounding down loses goes to the parts that lost most, the first of equals; without weights all is other."""
    assert apportioned(weights, total) == parts


# What belongs where


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([SystemMessage("x")], {"system"}),
        ([HumanMessage("x")], {"human"}),
        ([HumanMessage("x"), AIMessage("y"), HumanMessage("z")], {"history", "human"}),
        ([AIMessage("y")], {"history"}),
        ([AIMessage("", tool_calls=CALLS), ToolMessage("r", tool_call_id="1")], {"history", "tool_results"}),
        ([FunctionMessage(name="f", content="r")], {"tool_results"}),
        ([HumanMessage([RESULT])], {"tool_results", "human"}),
        ([HumanMessage([{"type": "text", "text": "x"}, PICTURE])], {"human", "other"}),
        ([ToolMessage([PICTURE], tool_call_id="1")], {"tool_results", "other"}),
        ([ChatMessage(role="developer", content="x")], {"system"}),
        ([ChatMessage(role="critic", content="x")], {"history"}),
        ([{"role": "system", "content": "x"}, {"role": "user", "content": "x"}], {"system", "human"}),
        ([("system", "x"), ("human", "x")], {"system", "human"}),
        (["x"], {"human"}),
        ([RemoveMessage(id="1")], {"history"}),
        ([object()], {"history"}),
        ([None, ()], {"history"}),
    ],
)
def test_each_message_is_in_its_part(estimator: Estimator, messages: list[Any], expected: set[str]) -> None:
    """Messages of any form are found by their role, blocks by their type; what is unknown is history."""
    parts = parts_of(estimator, messages, 1_000_000)
    assert set(parts) == expected
    assert sum(parts.values()) == 1_000_000


def test_shares_follow_the_text(estimator: Estimator) -> None:
    """Parts weigh as their texts do: twenty words of a result twice as much as ten of a prompt."""
    parts = parts_of(estimator, CONVERSATION, 10_000, tools=[TOOL])
    assert set(parts) == set(PARTS) - {"other"}
    assert 1.6 < parts["tool_results"] / parts["system"] < 2.0
    assert parts["human"] < parts["system"] < parts["history"]


def test_prompts_of_text_models_are_human(estimator: Estimator) -> None:
    """A model of plain text is asked by somebody."""
    assert input_parts(estimator, Sent(prompts=["who?"]), None, None, 5) == {"human": 5}


# The mark of a question


def test_equal_questions_have_equal_marks() -> None:
    """Messages' ids, the order of parameters and streaming make no other question."""
    first = mark_of(HumanMessage("q", id="1"), AIMessage("a", id="2"), temperature=0, model="m", stream=True)
    second = mark_of(HumanMessage("q", id="3"), AIMessage("a"), model="m", temperature=0)
    assert first == second
    assert first is not None
    assert len(first) == 32
    assert set(first) <= set(string.hexdigits.lower())


@pytest.mark.parametrize(
    "other",
    [
        mark_of(HumanMessage("Q"), temperature=0),
        mark_of(SystemMessage("q"), temperature=0),
        mark_of(HumanMessage("q"), temperature=1),
        mark_of(HumanMessage("q"), temperature=0, tools=[TOOL]),
        mark_of(HumanMessage("q"), HumanMessage(""), temperature=0),
        mark_of(HumanMessage("q", name="ada"), temperature=0),
        mark_of("q", temperature=0),
        prompt_mark([HumanMessage("q")], {"temperature": 0}, "gpt-4o-mini", "openai"),
        prompt_mark([HumanMessage("q")], {"temperature": 0}, "gpt-4o", "azure"),
    ],
)
def test_other_questions_have_other_marks(other: str | None) -> None:
    """Whatever may change the answer changes the mark."""
    assert other is not None
    assert other != mark_of(HumanMessage("q"), temperature=0)


def test_what_cannot_be_written_has_no_mark() -> None:
    """Half a surrogate pair or a circle gives no mark, and no error; a foreign object gives one of its own."""
    circle: list[Any] = []
    circle.append(circle)
    assert mark_of(HumanMessage("\ud800")) is None
    assert mark_of(HumanMessage("q"), stop=circle) is None
    assert mark_of(HumanMessage("q"), stop=object()) != mark_of(HumanMessage("q"), stop=object())
    assert mark_of(HumanMessage("q"), stop={"b", "a"}) == mark_of(HumanMessage("q"), stop={"a", "b"})


# In a handler


def only_call(handler: TokenUsageHandler) -> Call:
    """The one call, which memory and store hold alike."""
    assert handler.last_run is not None
    (held,) = handler.last_run.calls
    assert handler.flush()
    (stored,) = handler.store.calls()
    assert held == stored
    return stored


def inspecting(tmp_path: Path, **more: Any) -> TokenUsageHandler:
    """A handler that inspects inputs."""
    return TokenUsageHandler(tmp_path / "tokens.db", inspect_inputs=True, **more)


@pytest.mark.parametrize("estimate", [True, False])
def test_inputs_are_inspected_where_that_is_asked_for(tmp_path: Path, estimate: bool) -> None:
    """A call's parts add up to what the provider counted, and stand in memory and store, with estimates or without."""
    with inspecting(tmp_path, estimate=estimate) as handler:
        model = ScriptedModel(usage={"input_tokens": 997, "output_tokens": 3, "total_tokens": 1_000})
        model.bind(tools=[TOOL]).invoke(CONVERSATION, config(handler))
        call = only_call(handler)
    assert call.input_parts is not None
    assert sum(call.input_parts.values()) == 997
    assert {"system", "history", "tool_results", "human"} <= set(call.input_parts)
    assert call.prompt_mark is not None


def test_nothing_is_inspected_unless_asked(tmp_path: Path) -> None:
    """By default neither parts nor a mark are kept."""
    with TokenUsageHandler(tmp_path / "tokens.db") as handler:
        ScriptedModel().invoke("q", config(handler))
        call = only_call(handler)
    assert (call.input_parts, call.prompt_mark) == (None, None)


@pytest.mark.parametrize("usage", [None, {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}])
def test_parts_are_of_the_estimate_where_that_is_all_there_is(tmp_path: Path, usage: Any) -> None:
    """An input that is estimated is apportioned like one that is known, and says so itself."""
    with inspecting(tmp_path) as handler:
        ScriptedModel(usage=usage).invoke("who is it?", config(handler))
        call = only_call(handler)
    assert call.usage is not None
    assert call.input_parts == {"human": call.usage.input_tokens}
    assert call.usage_source == ("provider" if usage else "estimated")


def test_an_unknown_input_has_no_parts(tmp_path: Path) -> None:
    """A call that failed has no count to split, but its question has a mark."""
    with inspecting(tmp_path) as handler:
        with pytest.raises(ScriptedError):
            ScriptedModel(steps=(ScriptedError("no"),)).invoke("q", config(handler))
        call = only_call(handler)
    assert (call.usage, call.input_parts) == (None, None)
    assert call.prompt_mark is not None


def test_a_correction_loses_no_parts(tmp_path: Path) -> None:
    """A call that is marked as superseded later on keeps what fills its input."""
    from langchain_core.output_parsers import JsonOutputParser

    with inspecting(tmp_path) as handler:
        model = ScriptedModel(steps=("no json", '{"a": 1}'))
        (model | JsonOutputParser()).with_retry(stop_after_attempt=2).invoke("q", config(handler))
        run = handler.last_run
        assert run is not None
        held = list(run.calls)
        handler.flush()
        stored = list(handler.store.calls(order="started_at"))
    assert held == stored
    assert [call.superseded for call in stored] == [True, False]
    assert [call.input_parts for call in stored] == [{"human": 10}] * 2
    assert stored[0].prompt_mark == stored[1].prompt_mark is not None


def test_no_text_is_kept(tmp_path: Path) -> None:
    """Neither the database nor the journal holds any word of a question that was inspected."""
    secret = "the customer is called Ada"  # noqa: S105  # no password
    with inspecting(tmp_path) as handler:
        ScriptedModel().invoke([SystemMessage(secret), HumanMessage(secret)], config(handler))
        journal = b"".join(file.read_bytes() for file in (tmp_path / "tokens.db.pending").glob("*"))
        handler.flush()
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"called Ada" in text for text in [journal, *files])


def test_a_journals_line_keeps_what_it_has(tmp_path: Path) -> None:
    """Parts and mark survive a line of the journal; of a call that was killed before they were found, they are unknown."""
    with inspecting(tmp_path) as handler:
        ScriptedModel().invoke("q", config(handler))
        call = only_call(handler)
    assert decode(encode(call)) == call
    bare = Call(call_id="c", run_id="r", started_at=call.started_at)
    folder = tmp_path / "killed.db.pending"
    folder.mkdir()
    (folder / "1-1.jsonl").write_bytes(encode(bare))
    store = open_store(tmp_path / "killed.db")
    (recovered,) = store.calls()
    assert (recovered.input_parts, recovered.prompt_mark) == (None, None)
    store.close()


def test_hostile_messages_do_no_harm(tmp_path: Path) -> None:
    """A question that cannot be counted or written is still a call, with all its tokens in some part."""

    class Odd(HumanMessage):
        @property
        def type(self) -> str:  # type: ignore[override]
            raise RuntimeError("no type")

    with inspecting(tmp_path) as handler:
        ScriptedModel().invoke([Odd("q"), HumanMessage("\ud800")], config(handler))
        call = only_call(handler)
    assert call.status == "ok"
    assert call.input_parts is None or sum(call.input_parts.values()) == 10


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_the_switch_is_checked(wrong: Any, tmp_path: Path) -> None:
    """What is no truth value is an error that says so."""
    with pytest.raises(TokensError, match="inspect_inputs="):
        TokenUsageHandler(tmp_path / "tokens.db", inspect_inputs=wrong)


@settings(max_examples=30, deadline=None)
@given(messages=st.lists(st.sampled_from(CONVERSATION), max_size=8), total=st.integers(0, 10**7))
def test_every_conversation_adds_up(estimator: Estimator, messages: list[Any], total: int) -> None:
    """The parts of any conversation add up to what was counted."""
    assert sum(parts_of(estimator, messages, total).values()) == total
