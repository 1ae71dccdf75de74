"""Does the scripted chat model behave like a provider's? Answers, errors, tools, streams and usage as its script says."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from langchain_tokens.errors import TokensError
from langchain_tokens.testing import ScriptedChatModel, ScriptEndedError, calling, make_call, make_usage, observe


@tool
def search(query: str) -> str:
    """Search the web for a text."""
    return f"found {query}"


WAYS = ("invoke", "ainvoke", "stream", "astream", "batch")


async def answer(model: Any, way: str, said: Any = "hi") -> AIMessage:
    """What a model answers, asked in one of the ways there are."""
    if way == "invoke":
        return model.invoke(said)
    if way == "ainvoke":
        return await model.ainvoke(said)
    if way == "batch":
        return model.batch([said])[0]
    pieces = list(model.stream(said)) if way == "stream" else [piece async for piece in model.astream(said)]
    assert all(piece.usage_metadata is None for piece in pieces[:-1])
    return sum(pieces[1:], pieces[0])


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_gives_the_same(way: str) -> None:
    """Text, usage, model and finish are the same however the model is asked, and are counted once."""
    model = ScriptedChatModel("four words are here ", usage=(100, 20), model="gpt-5-mini")
    with observe() as run:
        said = await answer(model, way)
    assert isinstance(model, BaseChatModel)
    assert said.text == "four words are here "
    assert said.usage_metadata == {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
    assert said.response_metadata["model_name"] == "gpt-5-mini"
    (call,) = run.calls
    assert (call.model, call.provider, call.finish_reason, call.price_status) == (
        "gpt-5-mini",
        "openai",
        "stop",
        "priced",
    )
    assert (call.usage_source, run.total.total_tokens, call.streamed) == ("provider", 120, "stream" in way)


@pytest.mark.parametrize("way", WAYS)
async def test_tools_are_asked_for(way: str) -> None:
    """A scripted tool call arrives whole, streamed too, and its names are in the record."""
    model = ScriptedChatModel(calling(("search", {"query": "cats"}), ("search", {"query": "dogs"})))
    with observe() as run:
        said = await answer(model.bind_tools([search]), way)
    assert [(call["name"], call["args"]) for call in said.tool_calls] == [
        ("search", {"query": "cats"}),
        ("search", {"query": "dogs"}),
    ]
    assert len({call["id"] for call in said.tool_calls}) == 2
    assert (run.calls[0].tool_calls, run.calls[0].finish_reason) == (("search", "search"), "tool_calls")


@pytest.mark.parametrize("way", WAYS)
async def test_errors_are_raised_where_the_script_has_them(way: str) -> None:
    """An error, or its class, is raised at its call, and the next call goes on."""
    model = ScriptedChatModel([TimeoutError("slow"), ConnectionError, "ok"])
    for kind in (TimeoutError, ConnectionError):
        with pytest.raises(kind):
            await answer(model, way)
    assert (await answer(model, way)).text == "ok"
    assert len(model.requests) == 3


def test_a_script_has_an_end() -> None:
    """A list is used up, and what is asked beyond it is an error that says so; a single answer never ends."""
    model = ScriptedChatModel(["one"])
    model.invoke("x")
    with pytest.raises(ScriptEndedError, match="call 2 to a model whose script has 1 answers"):
        model.invoke("x")
    assert [ScriptedChatModel("one").invoke("x").text for _ in range(3)] == ["one"] * 3


def test_answers_may_depend_on_what_was_sent() -> None:
    """A function is given the messages; what it returns is an answer like any other, an error among them."""
    model = ScriptedChatModel(lambda messages: ValueError("no") if len(messages) > 1 else f"re: {messages[0].text}")
    assert model.invoke("cats").text == "re: cats"
    with pytest.raises(ValueError, match="no"):
        model.invoke([SystemMessage("be brief"), HumanMessage("cats")])
    assert [[message.text for message in request] for request in model.requests] == [["cats"], ["be brief", "cats"]]
    with pytest.raises(TokensError, match="answers with a int"):
        ScriptedChatModel(lambda _: 3).invoke("x")


def test_usage_is_counted_of_what_is_really_sent() -> None:
    """More messages, longer ones and tools that are offered are more input; a longer answer is more output."""
    model = ScriptedChatModel(lambda messages: "word " * len(messages))

    def counts(said: Any, asked: Any = model) -> tuple[int, int]:
        usage = asked.invoke(said).usage_metadata
        return usage["input_tokens"], usage["output_tokens"]

    short, long = counts("hi"), counts("hi there, how are you?")
    history = counts([HumanMessage("hi"), calling(("search", {"query": "x"})), ToolMessage("found", tool_call_id="1")])
    assert short[0] < long[0] < history[0]
    assert short[1] < history[1]
    assert counts("hi", model.bind_tools([search]))[0] > short[0]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ((3, 4), {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}),
        (
            {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10, "input_token_details": {"cache_read": 8}},
            {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10, "input_token_details": {"cache_read": 8}},
        ),
    ],
)
def test_usage_as_it_is_given(usage: Any, expected: Any) -> None:
    """Counts may be said, as a whole too, or not at all; a message with usage of its own keeps it."""
    own = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    model = ScriptedChatModel(["a", AIMessage("b", usage_metadata=own)], usage=usage)  # type: ignore[arg-type]
    assert [model.invoke("x").usage_metadata for _ in range(2)] == [expected, own]


def test_threads_take_each_answer_once() -> None:
    """Calls at the same time take different answers."""
    model = ScriptedChatModel([str(number) for number in range(40)], usage=(1, 1))
    taken: list[str] = []
    threads = [threading.Thread(target=lambda: taken.extend(m.text for m in model.batch(["x"] * 10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(40)]


def test_an_agent_can_be_scripted() -> None:
    """The model drives an agent's loop with real tools."""
    create_agent = pytest.importorskip("langchain.agents").create_agent
    model = ScriptedChatModel([calling(("search", {"query": "cats"})), "a cat"], usage=(10, 5))
    with observe() as run:
        result = create_agent(model, [search], name="researcher").invoke({"messages": [("user", "cats?")]})
    assert result["messages"][-1].text == "a cat"
    assert model.requests[1][-1].text == "found cats"
    assert [(call.agent, call.tool_calls) for call in run.calls] == [("researcher", ("search",)), ("researcher", ())]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"answers": []}, "a script without answers"),
        ({"usage": "tiktoken"}, "usage='tiktoken'; expected 'count'"),
        ({"usage": (1, 2, 3)}, "expected 'count'"),
        ({"usage": (True, 2)}, "expected 'count'"),
        ({"latency_seconds": -1}, "expected seconds from 0 on"),
    ],
)
def test_a_script_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    """What is wrong with a script is said when it is written."""
    with pytest.raises(TokensError, match=said):
        ScriptedChatModel(**given)


def test_a_misspelt_argument_is_refused() -> None:
    """An argument that no chat model has is an error."""
    with pytest.raises(ValueError, match="anwsers"):
        ScriptedChatModel(anwsers=["x"])


def test_latency_is_waited_for() -> None:
    """A latency is there where it is asked for, in the record of the call."""
    with observe() as run:
        ScriptedChatModel("x", latency_seconds=0.02).invoke("x")
    assert (run.calls[0].duration_ms or 0) >= 20


def test_records_by_hand() -> None:
    """Made calls differ in their id, and say nothing that was not said: no usage, no price."""
    first, second = make_call(tokens=None), make_call(chain="a", tokens=(3, None), cost="0.5")
    assert first.call_id != second.call_id
    assert (first.usage, first.usage_source, first.cost_usd, first.price_status) == (None, "missing", None, "unpriced")
    assert (second.usage, second.price_status, second.chain) == (make_usage(3, None), "priced", "a")
    assert (make_usage(3, None).total_tokens, make_usage(3, 4).total_tokens) == (None, 7)
