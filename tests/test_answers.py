"""What does the model's answer say? What clients drop from usage metadata, errors that hold answers, and server tools."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from langchain_tokens import TokenUsageHandler
from langchain_tokens.answers import Answer, read_result
from langchain_tokens.reading.running import RunningUsage
from langchain_tokens.usage import COUNTS


def metadata(input_tokens: int, output_tokens: int, **details: Any) -> dict[str, Any]:
    """LangChain's usage metadata."""
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        **details,
    }


def message(usage: dict[str, Any] | None = None, **parts: Any) -> ChatGeneration:
    """A generation with one message."""
    info = parts.pop("generation_info", None)
    return ChatGeneration(
        message=AIMessage(content=parts.pop("content", "hi"), usage_metadata=usage, **parts), generation_info=info
    )


def answered(*generations: Any, llm_output: dict[str, Any] | None = None, **how: Any) -> Answer:
    """Read a result of these generations."""
    return read_result(LLMResult(generations=[list(generations)], llm_output=llm_output), "run", **how)


def said(answer: Answer) -> dict[str, Any]:
    """The counts that are not None."""
    return {name: value for name in COUNTS if (value := getattr(answer.reading.usage, name)) is not None}


VOXTRAL = {
    "prompt_tokens": 9,
    "completion_tokens": 201,
    "total_tokens": 585,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
}
ITERATIONS = {
    "input_tokens": 181,
    "output_tokens": 8,
    "iterations": [
        {"input_tokens": 2_518, "output_tokens": 22, "model": "claude-opus-4-8", "type": "advisor_message"},
        {"input_tokens": 181, "output_tokens": 8, "type": "message"},
    ],
}


@pytest.mark.parametrize(
    ("generation", "llm_output", "expected", "flags"),
    [
        pytest.param(
            message(metadata(9, 201) | {"total_tokens": 585}, response_metadata={"token_usage": VOXTRAL}),
            None,
            metadata(384, 201, cache_read_tokens=0, audio_input_tokens=375),
            ("audio_outside_input",),
            id="mistral: audio beside the prompt, and cached tokens",
        ),
        pytest.param(
            message(metadata(181, 8)),
            {"usage": ITERATIONS},
            metadata(181, 8),
            ("rounds_above_usage", "several_models"),
            id="anthropic: rounds on another model",
        ),
        pytest.param(
            message(None, response_metadata={"prompt_eval_count": None, "eval_count": 79}),
            None,
            {"output_tokens": 79},
            (),
            id="ollama: chat without an input",
        ),
        pytest.param(
            Generation(text="hi", generation_info={"prompt_eval_count": 16, "eval_count": 51, "context": [1, 2]}),
            None,
            metadata(16, 51),
            (),
            id="ollama: text",
        ),
        pytest.param(
            message(
                None,
                response_metadata={
                    "inputTextTokenCount": 5,
                    "totalOutputTextTokenCount": 10,
                    "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 10},
                },
            ),
            None,
            metadata(5, 10),
            (),
            id="titan: stream",
        ),
        pytest.param(
            message(
                metadata(159, 19),
                response_metadata={
                    "usage_metadata": {
                        "prompt_token_count": 159,
                        "candidates_token_count": 19,
                        "total_token_count": 178,
                        "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 150}],
                    }
                },
            ),
            None,
            metadata(159, 19, audio_input_tokens=150),
            (),
            id="gemini: audio",
        ),
        pytest.param(
            message(metadata(33, 10, output_token_details={"reasoning": 39}) | {"total_tokens": 82}),
            None,
            metadata(33, 49, reasoning_tokens=39),
            ("reasoning_outside_output",),
            id="gemini: thoughts in the total only",
        ),
        pytest.param(
            message(
                metadata(510, 99),
                response_metadata={
                    "token_count": {"input_tokens": 510.0, "output_tokens": 99.0, "reasoning_tokens": 29}
                },
            ),
            None,
            metadata(510, 99, reasoning_tokens=29),
            (),
            id="cohere: reasoning",
        ),
        pytest.param(
            message(
                metadata(65, 63),
                response_metadata={"token_count": {"total_tokens": 128.0, "input_tokens": 65.0, "output_tokens": 63.0}},
            ),
            None,
            {},
            ("billed_units_only",),
            id="cohere: billed units in place of tokens",
        ),
        pytest.param(
            message(metadata(33, 7_163, output_token_details={"reasoning": 95_305, "citation_tokens": 20_016})),
            None,
            metadata(33, 102_468, reasoning_tokens=95_305),
            ("reasoning_outside_output",),
            id="perplexity: deep research",
        ),
    ],
)
def test_what_a_client_drops_is_recovered(
    generation: Any, llm_output: dict[str, Any] | None, expected: dict[str, Any], flags: tuple[str, ...]
) -> None:
    """What a client leaves out of the usage metadata is read from the payload that it hands over beside it."""
    answer = answered(generation, llm_output=llm_output)
    assert (said(answer), answer.reading.flags) == (expected, flags)


def test_billed_units_are_kept_as_units() -> None:
    """Units that were given out as tokens are kept by their own name; the tokens are unknown."""
    count = {"total_tokens": 128.0, "input_tokens": 65.0, "output_tokens": 63.0}
    for usage in (None, metadata(65, 63)):
        answer = answered(message(usage, response_metadata={"token_count": count}))
        assert answer.reading.usage is not None
        assert answer.reading.usage.other_units == {"billed_input_tokens": 65, "billed_output_tokens": 63}
        assert answer.reading.flags == ("billed_units_only",)


def test_content_beside_counts_is_not_kept() -> None:
    """Where counts stand among other things, the raw payload is the counts alone."""
    answer = answered(Generation(text="hi", generation_info={"eval_count": 51, "context": [1], "response": "secret"}))
    assert answer.reading.raw == {"eval_count": 51}


@pytest.mark.parametrize(
    ("metadata_beside", "units", "cost"),
    [
        ({"num_search_queries": 3, "search_context_size": "high"}, {"num_search_queries": 3}, None),
        ({"cost": 0.000784, "cost_details": {"upstream_inference_cost": 0.000784}}, {}, Decimal("0.000784")),
        ({"cost": 0.05, "cost_details": {"upstream_inference_cost": 0.95}}, {}, Decimal("1.00")),
    ],
)
def test_what_stands_in_metadata_is_billed_too(
    metadata_beside: dict[str, Any], units: dict[str, int], cost: Decimal | None
) -> None:
    """Searches and prices that a client moves into the message's metadata are read from there."""
    reading = answered(message(metadata(8, 5), response_metadata=metadata_beside)).reading
    assert reading.usage is not None
    assert units.items() <= (reading.usage.other_units or {}).items()
    assert reading.reported_cost_usd == cost


BILLED = {
    "model": "served",
    "usage": {"prompt_tokens": 13, "completion_tokens": 9, "total_tokens": 22, "cost": 0.000735},
}


class HeldError(Exception):
    """An error of a client that holds the answer it could not take."""

    def __init__(self, **held: Any) -> None:
        super().__init__("no")
        self.__dict__.update(held)


@pytest.mark.parametrize(
    ("held", "model"),
    [
        ({"body": "\n\n" + json.dumps(BILLED)}, "served"),
        ({"body": json.dumps(BILLED).encode()}, "served"),
        ({"body": BILLED}, "served"),
        ({"body": {"message": "no"}, "completion": SimpleNamespace(usage=BILLED["usage"])}, None),
    ],
    ids=["text", "bytes", "mapping", "object"],
)
def test_an_error_may_hold_the_answer(held: dict[str, Any], model: str | None) -> None:
    """An answer that was billed, and that the client then failed on, is read out of its error."""
    answer = read_result(LLMResult(generations=[[]]), "run", error=HeldError(**held))
    assert said(answer) == metadata(13, 9)
    assert (answer.reading.reported_cost_usd, answer.model) == (Decimal("0.000735"), model)


@pytest.mark.parametrize("held", [{}, {"body": "<html>"}, {"body": "5"}, {"body": None}, {"body": "x" * 5_000_000}])
def test_an_error_without_an_answer_says_nothing(held: dict[str, Any]) -> None:
    """An error that holds no usage leaves it unknown."""
    answer = read_result(LLMResult(generations=[[]]), "run", error=HeldError(**held))
    assert (answer.reading.usage, answer.reading.flags) == (None, ())


def test_the_response_of_an_error_is_found_behind_what_had_arrived() -> None:
    """After a part of a stream, the second generation holds the failed response, and with it the usage."""
    failed = message(content="", response_metadata={"body": BILLED, "status_code": 200})
    answer = read_result(LLMResult(generations=[[message(content="par")], [failed]]), "run")
    assert said(answer) == metadata(13, 9)


def test_the_first_generation_with_usage_counts() -> None:
    """Of several generations, each with the whole call's usage, one is counted."""
    answer = answered(message(), message(metadata(8, 5)), message(metadata(8, 5)))
    assert said(answer) == metadata(8, 5)


def test_running_totals_replace_their_sum() -> None:
    """Where the pieces of a stream said running totals, the last one stands in place of what LangChain added up."""
    running = RunningUsage()
    for number in (1, 2, 3):
        running.note(metadata(8, number))
    answer = answered(message(metadata(24, 6)), running=running)
    assert (said(answer), answer.reading.flags) == (metadata(8, 3), ("cumulative_chunks",))
    untold = answered(message(metadata(24, 6)), running=RunningUsage())
    assert (said(untold), untold.reading.flags) == (metadata(24, 6), ())


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}


@pytest.mark.parametrize(
    ("parts", "names", "units"),
    [
        pytest.param(
            {"content": [SEARCH, {"type": "text", "text": "hi"}, {**SEARCH, "id": "ws_2"}]},
            ("web_search", "web_search"),
            {"web_search_requests": 2},
            id="openai",
        ),
        pytest.param(
            {"content": [{**SEARCH, "status": "searching"}, SEARCH]},
            ("web_search",),
            {"web_search_requests": 1},
            id="one search in two states",
        ),
        pytest.param(
            {"content": [{**SEARCH, "action": {"type": "open_page"}}, {**SEARCH, "id": "b", "status": "failed"}]},
            ("web_search", "web_search"),
            None,
            id="what is not billed",
        ),
        pytest.param(
            {"additional_kwargs": {"tool_outputs": [{"type": "code_interpreter_call", "id": "ci_1"}]}},
            ("code_interpreter",),
            {"code_interpreter_calls": 1},
            id="openai's older form",
        ),
        pytest.param(
            {"content": [{"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}]},
            ("web_search",),
            {"web_search_requests": 1},
            id="anthropic",
        ),
        pytest.param(
            {"content": [{"type": "mcp_tool_use", "id": "m1", "name": "ask"}]}, ("ask",), None, id="a server's tool"
        ),
        pytest.param(
            {"additional_kwargs": {"executed_tools": [{"type": "search", "index": 0}]}}, ("search",), None, id="groq"
        ),
        pytest.param(
            {"response_metadata": {"grounding_metadata": {"web_search_queries": ["a", "b"]}}},
            ("google_search",),
            {"web_search_queries": 2},
            id="gemini",
        ),
        pytest.param({"response_metadata": {"grounding_metadata": {"web_search_queries": []}}}, (), None, id="none"),
        pytest.param({"content": [{"type": []}, "text", {"type": "server_tool_use"}]}, (), None, id="nonsense"),
    ],
)
def test_server_tools_are_named_and_counted(
    parts: dict[str, Any], names: tuple[str, ...], units: dict[str, int] | None
) -> None:
    """Tools that ran on the provider's side are named, and counted under a flag where nobody said their number."""
    answer = answered(message(metadata(8, 5), **parts))
    assert answer.reading.usage is not None
    assert (answer.tool_calls, answer.reading.usage.other_units) == (names, units)
    assert answer.reading.flags == (() if units is None else ("counted_from_content",))


def test_a_number_of_the_provider_is_not_counted_again() -> None:
    """The number that the provider says stands; the blocks of the answer are not counted beside it."""
    usage = {"input_tokens": 8, "output_tokens": 5, "server_tool_use": {"web_search_requests": 4}}
    block = {"type": "server_tool_use", "id": "s1", "name": "web_search"}
    answer = answered(message(metadata(8, 5), content=[block]), llm_output={"usage": usage})
    assert answer.reading.usage is not None
    assert (answer.reading.usage.other_units, answer.reading.flags) == ({"web_search_requests": 4}, ())


def test_requested_tools_come_before_those_that_ran() -> None:
    """The names are those of the tools that the model asked for, then those that the provider ran."""
    call = {"name": "mine", "args": {}, "id": "1", "type": "tool_call"}
    answer = answered(message(metadata(8, 5), content=[SEARCH], tool_calls=[call]))
    assert answer.tool_calls == ("mine", "web_search")


@pytest.mark.parametrize(
    ("class_name", "said_at_start", "said_by_answer", "expected"),
    [
        ("GatewayModel", "gatewaymodel", "openai", "openai"),
        ("GatewayModel", "gatewaymodel", None, "gatewaymodel"),
        ("AzureChatOpenAI", "azure", "openai", "azure"),
        ("ChatDeepSeek", "deepseek", "openai", "deepseek"),
    ],
)
def test_a_class_name_is_no_provider(
    tmp_path: Path, class_name: str, said_at_start: str, said_by_answer: str | None, expected: str
) -> None:
    """Where the client names its provider only by its class's name, the answer's word counts; elsewhere the client's."""
    said = {} if said_by_answer is None else {"model_provider": said_by_answer}
    message = AIMessage("hi", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2})
    message.response_metadata = said
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        run_id = uuid4()
        started: Any = {"serialized": {"id": ["models", class_name]}, "messages": [[]], "run_id": run_id}
        handler.on_chat_model_start(**started, metadata={"ls_provider": said_at_start, "ls_model_name": "m"})
        handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id)
        assert [call.provider for call in handler.runs[0].calls] == [expected]


def test_an_answer_with_the_providers_output_is_no_hit() -> None:
    """LangChain's cache keeps messages alone: a marked one beside the provider's output is the paid call's own."""
    marked = message(metadata(10, 5, total_cost=0), id="msg_1")
    assert answered(marked).is_from_cache
    assert not answered(marked, llm_output={"model_name": "m"}).is_from_cache


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
TOOL = {"name": "search", "args": {}, "id": "c1"}


@pytest.mark.parametrize(
    ("generation", "llm_output", "expected", "flags"),
    [
        pytest.param(
            message(metadata(0, 0, input_token_details={"cache_read": 0})),
            {"token_usage": {"input_tokens": 10, "output_tokens": 5}},
            metadata(10, 5),
            (),
            id="the payload says it in other names",
        ),
        pytest.param(message(metadata(0, 0)), None, None, ("usage_missing",), id="text"),
        pytest.param(message(metadata(0, 0)), {"token_usage": ZEROS}, None, ("usage_missing",), id="zeros twice"),
        pytest.param(
            message(metadata(0, 0)),
            {"token_usage": dict.fromkeys(ZEROS)},
            None,
            ("usage_missing",),
            id="a payload of nothing",
        ),
        pytest.param(
            message(metadata(0, 0), content="", tool_calls=[TOOL]), None, None, ("usage_missing",), id="a tool's call"
        ),
        pytest.param(Generation(text="hi"), {"token_usage": ZEROS}, None, ("usage_missing",), id="a text model"),
        pytest.param(message(metadata(0, 0), content=""), {"token_usage": ZEROS}, metadata(0, 0), (), id="no answer"),
        pytest.param(message(metadata(10, 0)), None, metadata(10, 0), (), id="an input"),
    ],
)
def test_zeros_beside_an_answer_say_nothing(
    generation: Any, llm_output: dict[str, Any] | None, expected: dict[str, int] | None, flags: tuple[str, ...]
) -> None:
    """A client that finds no counts it knows fills in zeros: what the payload says counts, and else nothing is known
    where there is an answer.
    """
    reading = answered(generation, llm_output=llm_output).reading
    counts = None if reading.usage is None else said(answered(generation, llm_output=llm_output))
    assert (counts, reading.flags) == (expected, flags)


def test_zeros_leave_what_is_billed_beside_tokens() -> None:
    """Searches that are counted beside the zeros stay."""
    raw = {**ZEROS, "num_search_queries": 2}
    usage = answered(message(metadata(0, 0)), llm_output={"token_usage": raw}).reading.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.other_units) == (None, None, {"num_search_queries": 2})


@pytest.mark.parametrize(
    ("name", "copies"),
    [*(("gpt-4o", copies) for copies in (1, 2, 3, 4, 5, 6, 8)), ("o1", 2), ("o1", 4), ("koko", 1), ("aa", 1)],
)
def test_a_name_that_each_piece_says_is_said_once(name: str, copies: int) -> None:
    """Names that a client repeats in the pieces of a stream are joined end to end; one of them counts."""
    said_often = {"model_name": name * copies, "finish_reason": "stop" * copies}
    answer = answered(message(metadata(8, 5), response_metadata=said_often))
    assert (answer.model, answer.finish_reason) == (name, "stop")
