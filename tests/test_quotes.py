"""An error quotes what was sent or answered, in any form; what is stored of it does not."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from langchain_tokens import BudgetExceeded, TokenUsageHandler, track
from langchain_tokens.failures import Failures
from langchain_tokens.masking import error_text
from tests.models import Reply, ScriptedChat, StreamingChat, in_turn

PROMPT = 'The customer "Ada Byron" of Köln lives\nat 5 Main Street\\Block 7; her e-mail is ada@example.com, her cat is 猫のミケさんです'
ANSWER = "Ada Byron owes us four hundred and twelve pounds since the winter of last year"
AROUND = (
    "Error code: 400 - {'request_id': 'req_011CSHoEeqs5C35K2UUqR7Fy', 'message': 'Invalid request: messages.0.content: "
)
LIMIT = " - maximum context length is 8192 tokens'}"
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "ascii": ascii,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps({"content": text})),
    "bytes": lambda text: repr(text.encode()),
    "URL": quote,
    "HTML": html.escape,
    "capitals": str.upper,
    "messages": lambda text: repr([HumanMessage(text)]),
    "wrapped lines": lambda text: "\n    ".join(text.split(" ")),
    "a part": lambda text: text[10:40],
}


def words(text: str) -> list[str]:
    """The words that tell a text from others."""
    return [
        word for word in ("Byron", "BYRON", "Main Street", "ada@example", "ミケ", "winter", "pounds") if word in text
    ]


@pytest.mark.parametrize("form", FORMS)
def test_quotes_are_masked_in_any_form(form: str) -> None:
    """What was sent is masked whatever escaping is put on it; the kind, the id and the limit stay readable."""
    text = error_text(ValueError(AROUND + FORMS[form](PROMPT) + LIMIT), [[HumanMessage(PROMPT)]])
    assert text.startswith(AROUND)
    assert text.endswith(LIMIT)
    assert words(text) == []
    assert "***" in text


@pytest.mark.parametrize(
    "said",
    [
        [("human", PROMPT)],
        [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
        {"state": {"messages": [HumanMessage(PROMPT)]}},
        ChatPromptTemplate.from_messages([("human", "{q}")]).invoke({"q": PROMPT}),
        AIMessage("", tool_calls=[{"name": "look_up", "args": {"name": PROMPT, "type": "x"}, "id": "1"}]),
        ToolMessage(PROMPT, tool_call_id="1"),
        PROMPT,
    ],
    ids=["tuple", "dict", "state", "prompt value", "tool call", "tool message", "text"],
)
def test_texts_are_found_in_any_input(said: Any) -> None:
    """Messages, states, prompts and the arguments of tools are looked through, whatever holds them."""
    assert error_text(ValueError(f"could not handle {PROMPT}"), [said]) == "could not handle ***"


@pytest.mark.parametrize(
    ("text", "said", "kept"),
    [
        ("rate limit reached", "what is a rate limit", "rate limit reached"),
        ("timeout of customers", {"table": "customers", "why": "timeout"}, "timeout of customers"),
        ("could not handle who is Ada today", "who is Ada", "could not handle *** today"),
        ("could not handle hi", "hi", "could not handle hi"),
        (f"no {PROMPT[:32]} lint 8 left", PROMPT, "no *** lint 8 left"),
        ("whois Adam?", "who is Ada", "whois Adam?"),
        ("no model gpt-4o-mini-2024-07-18", {"model": "gpt-4o-mini-2024-07-18"}, "no model gpt-4o-mini-2024-07-18"),
        ("could not handle 猫の名前はミケ", "猫の名前はミケ", "could not handle ***"),
        ("got " + "QUJD" * 30, "a picture", "got ***"),
        ("", "anything at all that was said", ""),
    ],
)
def test_words_of_an_error_stay(text: str, said: Any, kept: str) -> None:
    """Fewer than 16 letters in common are no quote, nor is a single word; a short phrase is one where it stands whole."""
    assert error_text(text, [said]) == kept


def test_objects_that_cannot_be_read_keep_the_text_out() -> None:
    """Where inputs cannot be looked through, by what they are or how much, nothing of the error's text is kept."""

    class Hostile:
        @property
        def generations(self) -> Any:
            raise RuntimeError("no")

    assert error_text("could not handle it", [Hostile()]) == "***"
    assert error_text("could not handle it", ["many words " * 500_000]) == "***"


def test_a_circle_is_walked_once_and_an_iterator_is_not_read() -> None:
    """Inputs may hold themselves; what can be read only once is left to the host."""
    pieces: Iterator[str] = iter([PROMPT])
    circle: list[Any] = [pieces, PROMPT]
    circle.append(circle)
    assert error_text(f"no {PROMPT}", [circle]) == "no ***"
    assert list(pieces) == [PROMPT]


@pytest.mark.parametrize("said", ["a" * 1_000_000, "\\n" * 500_000, "%41 " * 250_000, "many words " * 90_000])
@pytest.mark.parametrize("piece", ["a", "many words ", "\\u0041", "%41 "])
def test_long_texts_take_linear_time(said: str, piece: str) -> None:
    """An error of 240 kB and an input of 1 MB are held against each other in a moment, however alike they are."""
    began = time.process_time()
    error_text(piece * (240_000 // len(piece)), [said])
    assert time.process_time() - began < 5  # what the product of both takes ends no test


def chain_of(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_messages([("system", "Answer."), ("human", "{q}")]) | model


def failing(error: Callable[[], Exception]) -> ScriptedChat:
    def script(_: Any) -> Reply:
        raise error()

    return ScriptedChat(script=script)


def quoted() -> Exception:
    return ValueError(AROUND + repr([HumanMessage(PROMPT)]) + LIMIT)


def invoke(handler: TokenUsageHandler) -> None:
    chain_of(failing(quoted)).invoke({"q": PROMPT}, {"callbacks": [handler]})


def ainvoke(handler: TokenUsageHandler) -> None:
    asyncio.run(chain_of(failing(quoted)).ainvoke({"q": PROMPT}, {"callbacks": [handler]}))


def batch(handler: TokenUsageHandler) -> None:
    chain_of(failing(quoted)).batch([{"q": PROMPT}, {"q": PROMPT[:60]}], {"callbacks": [handler]})


def bare(handler: TokenUsageHandler) -> None:
    failing(quoted).invoke(PROMPT, {"callbacks": [handler]})


def streaming_model() -> StreamingChat:
    return StreamingChat(script=in_turn(Reply(text=ANSWER, breaks_off=ValueError(f"broke off after {ANSWER}"))))


def stream(handler: TokenUsageHandler) -> None:
    list(chain_of(streaming_model()).stream({"q": PROMPT}, {"callbacks": [handler]}))


def astream(handler: TokenUsageHandler) -> None:
    async def read() -> None:
        async for _ in chain_of(streaming_model()).astream({"q": PROMPT}, {"callbacks": [handler]}):
            pass

    asyncio.run(read())


def function_of_the_answer(handler: TokenUsageHandler) -> None:
    def parse(message: Any) -> None:
        raise ValueError(f"could not handle {message.content}")

    chain = chain_of(ScriptedChat(script=in_turn(Reply(text=ANSWER)))) | RunnableLambda(parse)
    chain.invoke({"q": PROMPT}, {"callbacks": [handler]})


def function_around_the_call(handler: TokenUsageHandler) -> None:
    def ask(question: str, config: Any) -> None:
        answer = ScriptedChat(script=in_turn(Reply(text=ANSWER))).invoke(question, config)
        try:
            int(str(answer.content))
        except ValueError as error:  # invalid literal for int() with base 10: ...
            raise RuntimeError(f"step failed: {error}") from error

    RunnableLambda(ask).invoke(PROMPT, {"callbacks": [handler]})


def tool_of_the_question(handler: TokenUsageHandler) -> None:
    @tool
    def look_up(person: str) -> str:
        """Look up."""
        raise ValueError(f"nobody is called {person}")

    def ask(question: str, config: Any) -> None:
        chain_of(ScriptedChat()).invoke({"q": "who"}, config)
        try:
            look_up.invoke({"person": question[:70]}, config)
        except ValueError as error:
            raise LookupError(str(error)) from error

    RunnableLambda(ask).invoke(PROMPT, {"callbacks": [handler]})


def retried_node(handler: TokenUsageHandler) -> None:
    class State(TypedDict, total=False):
        q: str

    def node(state: State) -> State:
        answer = ScriptedChat(script=in_turn(Reply(text=ANSWER))).invoke(state["q"])
        raise ConnectionError(f"no {state['q']} and no {answer.content}")

    builder = StateGraph(State)
    builder.add_node("node", node, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False))
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    builder.compile().invoke({"q": PROMPT}, {"callbacks": [handler]})


def tracked_block(handler: TokenUsageHandler) -> None:
    with track(session="s1"):
        answer = ScriptedChat(script=in_turn(Reply(text=ANSWER))).invoke(PROMPT, {"callbacks": [handler]})
        raise ValueError(f"could not handle {answer.content} for {PROMPT}")


def named_attempt(handler: TokenUsageHandler) -> None:
    error: Exception | None = None
    for attempt in (1, 2):
        try:
            with track(attempt=attempt, error=error):
                bare(handler)
        except ValueError as raised:
            error = raised
    raise ValueError("gave up")


WAYS = [
    invoke,
    ainvoke,
    batch,
    bare,
    stream,
    astream,
    function_of_the_answer,
    function_around_the_call,
    tool_of_the_question,
    retried_node,
    tracked_block,
    named_attempt,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_that_was_said_reaches_the_disk(way: Callable[[TokenUsageHandler], None], tmp_path: Path) -> None:
    """Whoever raises the error, and however it is run, neither the database nor a journal holds what it quotes."""
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        with pytest.raises(Exception):  # noqa: B017  # each way has a kind of its own
            way(handler)
        journals = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        assert handler.flush()
        kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        calls, runs = handler.store.calls(), handler.store.runs()
    errors = [one.error_message for one in (*calls, *runs)] + [call.attempt_error for call in calls]
    assert calls
    assert any(error is not None and ("***" in error or error == "gave up") for error in errors)
    for content in (*journals, *kept, "\n".join(filter(None, errors)).encode()):
        assert words(content.decode("utf-8", "ignore")) == []


def test_error_of_a_retry_stays_readable(tmp_path: Path) -> None:
    """What made an attempt necessary is masked like the error of the attempt before, and only there."""
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        with pytest.raises(ValueError, match="gave up"):
            named_attempt(handler)
        with track(attempt=2, error="no such column: amount_of_the_last_invoice"):
            ScriptedChat().invoke("fix: no such column: amount_of_the_last_invoice", {"callbacks": [handler]})
        first, second, third = sorted(handler.store.calls(), key=lambda call: call.started_at)
    assert first.attempt_error is None
    assert second.attempt_error == first.error_message == second.error_message
    assert second.error_message is not None
    assert second.error_message.startswith(AROUND)
    assert third.attempt_error == "no such column: amount_of_the_last_invoice"


def test_late_error_of_a_call_whose_content_is_gone_keeps_no_text(tmp_path: Path) -> None:
    """A call that was given up lets its messages go; an error that comes later has its type alone."""
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        chain, call = uuid4(), uuid4()
        handler.on_chain_start({}, {"q": PROMPT}, run_id=chain, name="work")
        handler.on_chat_model_start({}, [[HumanMessage(PROMPT)]], run_id=call, parent_run_id=chain)
        handler.on_chain_end({}, run_id=chain)
        handler.on_llm_error(ValueError(f"no {PROMPT}"), run_id=call)
        (held,) = handler.store.calls()
    assert (held.status, held.error_type, held.error_message) == ("error", "ValueError", "***")


class Question(dict[str, Any]):
    """Inputs whose life can be watched."""


@pytest.mark.parametrize("fails", [False, True])
def test_inputs_live_no_longer_than_their_run(fails: bool, tmp_path: Path) -> None:
    """A handler holds on to what a run was given until it ends, and neither copies nor changes it."""

    def work(question: Question, config: Any) -> str:
        ScriptedChat().invoke(question["q"], config)
        if fails:
            raise ValueError(f"no {question['q']}")
        return "done"

    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        question = Question(q=PROMPT)
        before, alive = dict(question), weakref.ref(question)
        try:
            RunnableLambda(work).invoke(question, {"callbacks": [handler]})
        except ValueError:
            assert fails
        assert question == before
        del question
        gc.collect()
        assert alive() is None


def test_errors_of_our_own_quote_nothing() -> None:
    """A budget's stop names the session that it is for, though the inputs have it, too."""
    error = BudgetExceeded("budget 'daily' of session 5f0c7a52-9a5e-5f7e-8a8b-6f3d3d3f9a10 is spent")
    assert Failures().text(error, [{"session_id": "5f0c7a52-9a5e-5f7e-8a8b-6f3d3d3f9a10"}]) == str(error)


def test_few_errors_are_remembered() -> None:
    """Of errors that quoted something the newest 256 are known, by a digest."""
    failures = Failures()
    texts = [f"error {number} of {PROMPT}" for number in range(300)]
    for text in texts:
        failures.text(ValueError(text), [PROMPT])
    assert failures.known(error_text(texts[0])) == error_text(texts[0])
    assert failures.known(error_text(texts[-1])) == "error 299 of ***"
    assert words(repr(vars(failures))) == []


def test_log_is_free_of_what_was_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A slip of ours in a hook is logged, and not what the hook was told."""

    class Broken:
        def __bool__(self) -> bool:
            raise ValueError(f"could not handle {PROMPT}")

    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        handler.on_chat_model_start({}, [[HumanMessage(PROMPT)]], run_id=uuid4(), metadata=Broken())
    assert "could not handle ***" in caplog.text
    assert words(caplog.text) == []
