"""Prompts, answers and keys are not stored, wherever a provider or a parser puts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel, ValidationError

from langchain_tokens import TokenUsageHandler
from langchain_tokens.masking import _NAMED_SECRETS, _SECRETS, NOT_STORED, error_text, is_secret_name, masked
from langchain_tokens.plain import detached
from tests.models import Reply, ScriptedChat, in_turn

SAID = "the customer is called Ada"


class Answer(BaseModel):
    """What a model was asked for."""

    number: int


def pydantic_error() -> Exception:
    """What pydantic says of an answer that it cannot read."""
    try:
        Answer.model_validate_json('{"number": "the customer is called Ada"}')
    except ValidationError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        OutputParserException(f"Invalid json output: {SAID}", llm_output=SAID),
        ValueError(
            "Error code: 400 - {'error': {'code': 'x', 'failed_generation': '<function>the customer is called Ada'}}"
        ),
        pydantic_error(),
    ],
    ids=["parser", "Groq", "pydantic"],
)
def test_answers_in_errors_are_not_kept(error: Exception) -> None:
    """What the model had written is left out of an error's text; the rest of the text stays."""
    text = error_text(error)
    assert SAID not in text
    assert "***" in text
    assert text[:5] == str(error)[:5]


@pytest.mark.parametrize("end", ["", "\n" + "x" * 20_000, ", input_typ"])
def test_answers_without_an_end_are_not_kept(end: str) -> None:
    """Of what pydantic quotes, nothing is kept where the text ends before the answer does."""
    assert error_text(f"[type=int_parsing, input_value='{SAID}{end}") == "[type=int_parsing, input_value=***"


@pytest.mark.parametrize(
    "piece",
    [
        "input_value=",
        "input_value=, input_type",
        "failed_generation ",
        "failed_generation=",
        "-eyJ",
        "-sk-",
        "Bearer ",
        "://a:",
        "password ",
        "access_token",
        " ",
    ],
)
def test_hostile_texts_are_read_once(piece: str) -> None:
    """A megabyte that begins what is masked again and again is read once: what the square of it takes ends no test."""
    assert len(error_text(piece * (1_000_000 // len(piece)))) <= 2_001
    assert len(error_text(piece + " " * 1_000_000)) <= 2_001


@pytest.mark.parametrize(
    "key",
    [
        "lsv2_pt_0123456789abcdef01234567_0123456789",
        "sk-ant-api03-0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.cThIIoDvwdueQB468K5xDc5633seEFoqwxjF_xSJyQQ",
    ],
)
def test_keys_are_masked(key: str) -> None:
    """Keys of providers are masked in an error's text and in a usage payload."""
    assert key not in error_text(f"denied for {key}, sorry")
    assert key not in str(detached({"input_tokens": 1, "note": f"used {key}"}))


_PIECES = (
    *(
        "sk-",
        "sk-abcdef",
        "eyJ",
        "eyJabcdef.abc.def",
        "-",
        ".",
        "Bearer ",
        "bearer x",
        "://",
        "a:",
        "@",
        "password",
        "=",
    ),
    *(
        ": ",
        "'",
        '"',
        "api_key",
        "api-key",
        "AIza",
        "AKIA",
        "ghp_",
        "0123456789abcdef",
        "x",
        " ",
        "\n",
        "xoxb-",
        "\u0130",
    ),
    *("\u00e9", "\0", "\ud800", "secret", "author", "auth_token", "refresh-token", "gsk_", "hf_", "}", "***"),
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_long_texts_are_masked_alike(text: str) -> None:
    """Where only the places are looked at in which a secret may begin, the same is masked as by reading it all."""
    whole = _NAMED_SECRETS.sub(r"\1***", _SECRETS.sub("***", text))
    assert masked(text) == NOT_STORED.sub("\ufffd", whole)


@pytest.mark.parametrize(
    "piece", ["-eyJ", "-eyJaaaaaa.", "-sk-", "Bearer ", "://a:", "://", "password ", "password: ", "access_token", " "]
)
def test_hostile_long_texts_are_masked_once(piece: str) -> None:
    """A quarter of a megabyte of beginnings is read a few times, not once for each: its square would end no test."""
    assert masked(piece * (262_144 // len(piece)))
    assert masked(piece + " " * 262_144)


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("password", True), ("OPENAI_API_KEY", True), ("x-auth-token", True), ("secretary", False), ("tokens", False)],
)
def test_secrets_are_known_by_their_names(name: str, is_secret: bool) -> None:
    """A field is a secret when its name ends as one."""
    assert is_secret_name(name) is is_secret


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        ({"input_tokens": 1, "service_tier": "flex"}, {"input_tokens": 1, "service_tier": "flex"}),
        ({"a": {"b": ["x" * 121, 2]}}, {"a": {"b": ["…", 2]}}),
        ({"x" * 500: 1}, {"…": 1}),
        (
            {"models": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
            {"models": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
        ),
    ],
)
def test_long_texts_are_no_usage(payload: dict[str, Any], kept: dict[str, Any]) -> None:
    """A raw payload keeps numbers and names; a text that is longer than any name is left out."""
    assert detached(payload) == kept


def test_no_content_reaches_the_disk(tmp_path: Path) -> None:
    """Neither question nor answer of a run whose parser fails stands in the database, its log or the journal."""
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        model = ScriptedChat(script=in_turn(Reply(text=SAID)))
        chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | model | JsonOutputParser()
        with pytest.raises(OutputParserException):
            chain.invoke({"q": "who is the customer in question"}, {"callbacks": [handler]})
        handler.record(
            {"choices": [{"message": {"content": SAID}}], "foo": 1},
            chain="given",
            error=f"sk-proj-abcdefgh {SAID[:3]}",
        )
        assert handler.flush()
        files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 2
    for content in files:
        assert SAID.encode() not in content
        assert b"who is the customer" not in content
        assert b"sk-proj" not in content
    assert AIMessage(SAID).content == SAID
