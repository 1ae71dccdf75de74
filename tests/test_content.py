"""Is kept what was said, with `capture_content` only? As text that can be read again, and nothing that hurts."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation

from langchain_tokens import TokensError, TokenUsageHandler, open_store, tally
from langchain_tokens.codec import decode, encode
from langchain_tokens.journal import Journal
from langchain_tokens.masking import masked
from langchain_tokens.said import CallContent, ContentFact
from langchain_tokens.transcript import MOST, written_answer, written_messages, written_pieces
from tests.crew import Crew
from tests.models import FailingStore, Reply, ScriptedChat, StreamingChat, in_turn

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

PNG = base64.b64encode(b"\x89PNG" + bytes(300)).decode()
QUESTION, ANSWER = "where does Ada live", "in Lovelace Street"
CALL = {"name": "find", "args": {"who": "Ada", "password": "hunter2"}, "id": "1", "type": "tool_call"}


def sent(*messages: Any) -> list[dict[str, Any]]:
    """Messages, as they are kept."""
    kept: list[dict[str, Any]] = json.loads(written_messages(messages, masked).text)
    return kept


def blocks(*content: Any) -> dict[str, Any]:
    """A human message of blocks, as it is kept."""
    (kept,) = sent({"role": "user", "content": list(content)})
    return kept


def only(handler: TokenUsageHandler) -> CallContent:
    """What was said in the one call."""
    (call,) = handler.store.calls()
    content = handler.store.content(call.call_id)
    assert content is not None
    assert content.started_at == call.started_at
    return content


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[TokenUsageHandler]:
    """A handler that captures."""
    with TokenUsageHandler(tmp_path / "usage.db", capture_content=True) as made:
        yield made


# What a message becomes


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (SystemMessage("be short"), {"role": "system", "text": "be short"}),
        (HumanMessage("hi", name="ada"), {"role": "human", "text": "hi", "name": "ada"}),
        (ToolMessage("r", tool_call_id="1"), {"role": "tool", "text": "r", "tool_call_id": "1"}),
        (ChatMessage(role="critic", content="no"), {"role": "critic", "text": "no"}),
        ({"role": "user", "content": "hi"}, {"role": "human", "text": "hi"}),
        (("system", "x"), {"role": "system", "text": "x"}),
        ("a prompt", {"role": "prompt", "text": "a prompt"}),
        (None, {"role": "unknown", "text": ""}),
        ({"role": "user", "content": 7}, {"role": "human", "text": "7"}),
        ({"role": 7, "content": None}, {"role": "unknown", "text": ""}),
        (HumanMessage("a\0b\ud800"), {"role": "human", "text": "a\ufffdb\ufffd"}),
        (HumanMessage("key sk-abcdefghij"), {"role": "human", "text": "key ***"}),
        (HumanMessage("postgresql://u:secret@h/d"), {"role": "human", "text": "postgresql://***@h/d"}),
    ],
)
def test_messages_of_any_form_are_kept(message: Any, kept: dict[str, Any]) -> None:
    """Role and text, with secrets masked and what no database takes replaced."""
    assert sent(message) == [kept]


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("", tool_calls=[CALL]),
        AIMessage([{"type": "tool_use", "name": "find", "input": CALL["args"], "id": "1"}]),
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": CALL["args"]}}]},
    ],
)
def test_calls_of_tools_are_kept(message: Any) -> None:
    """With their arguments, in any provider's form; what is named a secret is masked."""
    (kept,) = sent(message)
    assert kept["tool_calls"] == [{"id": "1", "name": "find", "arguments": {"who": "Ada", "password": "***"}}]


def test_what_else_a_message_holds() -> None:
    """Reasoning, results of tools in blocks, and blocks of unknown kinds."""
    assert blocks({"type": "thinking", "thinking": "hm", "signature": "x" * 99}, {"type": "text", "text": "a"}) == {
        "role": "human",
        "text": "a",
        "reasoning": "hm",
    }
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]}
    assert blocks(result)["tool_results"] == [{"tool_call_id": "1", "text": "42"}]
    assert blocks({"type": "search", "query": "q", "encrypted_content": "x"})["text"] == '{"type":"search","query":"q"}'


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            "[image, image/png, 304 bytes]",
        ),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, None),
        ({"type": "image", "source_type": "base64", "mime_type": "image/png", "data": PNG}, None),
        ({"type": "media", "mime_type": "image/png", "data": base64.b64decode(PNG)}, None),
        ({"inlineData": {"mimeType": "image/png", "data": PNG}}, None),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, "[audio, wav, 304 bytes]"),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}},
            "[file, application/pdf, 304 bytes]",
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://u:pw@h.example/a.png?sig=abc"}},
            "[image, at https://***@h.example/a.png]",
        ),
        ({"image": {"format": "png", "source": {"bytes": b"123"}}}, "[image, png, 3 bytes]"),
        (f"see data:image/png;base64,{PNG} there", "see [image, image/png, 304 bytes] there"),
        ({"type": "tool_result_of_mine", "data": PNG}, '{"type":"tool_result_of_mine","data":"[file, 304 bytes]"}'),
        (b"123", "[bytes, 3 bytes]"),
    ],
)
def test_bytes_are_named_only(block: Any, text: str | None) -> None:
    """A picture, a sound or a file is its kind, type and size, and never its bytes or the signature of an address."""
    assert blocks(block)["text"] == (text or "[image, image/png, 304 bytes]")


def test_later_changes_by_the_host_change_nothing() -> None:
    """What is kept is text that was copied; messages are as they were."""
    message = AIMessage("before", tool_calls=[CALL])
    before = message.model_copy(deep=True)
    kept = written_messages([message], masked)
    assert message == before
    message.content, message.tool_calls[0]["args"]["who"] = "after", "Eve"
    assert ("before" in kept.text, "Eve" in kept.text) == (True, False)


def test_strange_messages_are_named_and_counted() -> None:
    """One that raises when it is read is named where it stood, and the others are kept."""

    class Broken:
        @property
        def content(self) -> str:
            raise RuntimeError("no")

    circle: list[Any] = []
    circle.append(circle)
    kept = written_messages(
        [HumanMessage("a"), Broken(), {"role": "user", "content": [{"type": "x", "y": circle}]}], masked
    )
    first, second, third = json.loads(kept.text)
    assert (first["text"], second["text"], kept.unread) == ("a", "[Broken could not be read]", 1)
    assert third["text"].startswith('{"type":"x"')


# What is too long


def test_a_long_text_is_cut_where_it_says() -> None:
    """Of a text beyond the bound its beginning is kept, and the number of characters that are not."""
    (message,) = sent("x" * (MOST + 1_000))
    kept = message["text"]
    assert kept.startswith("x" * (MOST - 100))
    assert kept.endswith(" characters cut]")
    left = int(kept.rpartition("[")[2].split()[0])
    assert kept.count("x") + left == MOST + 1_000


def test_a_secret_across_the_end_is_masked() -> None:
    """Where a text is cut in the middle of a key, no part of the key is left."""
    written = written_messages(["x" * (MOST - 40) + " sk-" + "k" * 60], masked)
    assert "kk" not in written.text


def test_of_long_conversations_the_middle_goes_first() -> None:
    """The last and the first message are kept, then the newest of those between; how many went stands in their place."""
    messages = [SystemMessage("rules"), *(HumanMessage(f"{number} " + "x" * 50_000) for number in range(10))]
    written = written_messages(messages, masked)
    kept = json.loads(written.text)
    assert written.is_cut
    assert kept[0]["text"] == "rules"
    assert kept[1] == {"role": "cut", "text": f"… [{11 - (len(kept) - 1)} messages cut]"}
    assert kept[-1]["text"] == messages[-1].content
    assert [entry["text"].split()[0] for entry in kept[2:]] == [str(n) for n in range(10)][-(len(kept) - 2) :]
    assert len(written.text) < MOST + 2_000


def test_bounds_hold_for_values_and_depth() -> None:
    """Arguments without an end are cut, too."""
    deep: Any = "end"
    for _ in range(500):
        deep = {"a": deep}
    many = {"role": "ai", "tool_calls": [{"name": "f", "args": {"n": list(range(10**6))}}, {"name": "g", "args": deep}]}
    written = written_messages([many], masked)
    assert written.is_cut
    assert len(written.text) < 3 * MOST


# What an answer becomes


def test_answers_with_alternatives() -> None:
    """Of several answers the first is the answer, and the others are beside it."""
    answers = [ChatGeneration(message=AIMessage("a", tool_calls=[CALL])), Generation(text="b")]
    kept = json.loads(written_answer(answers, masked).text)
    assert (kept["text"], kept["tool_calls"][0]["name"], kept["alternatives"]) == ("a", "find", [{"text": "b"}])


def test_pieces_of_calls_are_put_together() -> None:
    """What had arrived of a stream, whichever pieces name the call they belong to."""
    pieces = [
        {"name": "find", "args": '{"who"', "id": "1", "index": 0},
        {"name": None, "args": ': "Ada"}', "id": None, "index": 0},
        {"name": "other", "args": "", "id": "2", "index": 1},
    ]
    written = written_pieces("so", "hm", pieces, masked)
    assert written is not None
    assert json.loads(written.text) == {
        "text": "so",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "1", "name": "find", "arguments": '{"who": "Ada"}'},
            {"id": "2", "name": "other", "arguments": ""},
        ],
    }
    assert written_pieces("", "", [], masked) is None


# In a handler


def chat(*replies: Any, kind: type[ScriptedChat] = ScriptedChat) -> ScriptedChat:
    """A model that gives these replies."""
    return kind(script=in_turn(*(replies or (Reply(text=ANSWER),))))


def test_a_call_is_kept_with_its_answer(handler: TokenUsageHandler) -> None:
    """Whoever reads sees the call just made."""
    chat(Reply(text=ANSWER, tool_calls=("find",))).invoke(
        [SystemMessage("s"), HumanMessage(QUESTION)], {"callbacks": [handler]}
    )
    content = only(handler)
    assert [message["text"] for message in content.messages] == ["s", QUESTION]
    assert content.answer == {"text": ANSWER, "tool_calls": [{"id": "call_0", "name": "find", "arguments": {}}]}
    assert (content.messages_cut, content.answer_cut) == (False, False)
    assert handler.store.content("none") is None


def test_every_database_takes_it(lasting_database: Database) -> None:
    """Texts that a database does not take as they are, in every place, lose that much; and the call is read at once."""
    wild = "a\0b\ud800c \\u0000 \u732b \U0001f600 '\"%s"
    mended = "a\ufffdb\ufffdc \\u0000 \u732b \U0001f600 '\"%s"
    with TokenUsageHandler(lasting_database.url, capture_content=True) as handler:
        call = {"name": wild, "args": {wild: [wild, 2**70, float("nan"), True]}, "id": "1", "type": "tool_call"}
        messages = [HumanMessage(wild, name=wild), AIMessage([{"type": "x", "y": wild}], tool_calls=[call])]
        chat(Reply(text=wild)).invoke(messages, {"callbacks": [handler]})
        content = only(handler)
        assert content.messages[0] == {"role": "human", "text": mended, "name": mended}
        assert content.messages[1]["tool_calls"][0]["arguments"] == {mended: [mended, str(2**70), None, True]}
        assert content.answer == {"text": mended}
        assert handler.store.check().is_clean
        assert handler.store.delete(session="(none)") == 1
        assert handler.store.calls_said_like("") == []


def test_ways_of_asking(handler: TokenUsageHandler) -> None:
    """Streamed, asynchronous, in a batch and to a text model: every call has its own question and answer."""
    config: Any = {"callbacks": [handler]}
    list(chat(kind=StreamingChat).stream(QUESTION, config))
    asyncio.run(chat().ainvoke(QUESTION, config))
    chat().batch([QUESTION, QUESTION], config)
    FakeListLLM(responses=[ANSWER]).batch([QUESTION, QUESTION], config)
    contents = [handler.store.content(call.call_id) for call in handler.store.calls()]
    assert len(contents) == 6
    for content in contents:
        assert content is not None
        assert [message["text"] for message in content.messages] == [QUESTION]
        assert content.answer is not None
        assert content.answer["text"].strip() == ANSWER


def test_cached_answers_are_kept(handler: TokenUsageHandler) -> None:
    """A call that LangChain's cache answers says the same as the one that was paid."""
    set_llm_cache(InMemoryCache())
    try:
        model = chat()
        for _ in range(2):
            model.invoke(QUESTION, {"callbacks": [handler]})
    finally:
        set_llm_cache(None)
    calls = handler.store.calls()
    assert {call.status for call in calls} == {"ok", "cached"}
    assert {str(content.answer) for call in calls if (content := handler.store.content(call.call_id))} == {
        str({"text": ANSWER})
    }


def test_failed_calls_keep_their_question(handler: TokenUsageHandler) -> None:
    """Without an answer there is none; what had arrived of a stream is one in part."""
    with pytest.raises(ValueError, match="no"):
        chat(ValueError("no")).invoke(QUESTION, {"callbacks": [handler]})
    failed = only(handler)
    assert (failed.messages[0]["text"], failed.answer) == (QUESTION, None)
    handler.store.delete(until="2100-01-01")
    with pytest.raises(ValueError, match="broken"):
        list(
            chat(Reply(text="half of", breaks_off=ValueError("broken")), kind=StreamingChat).stream(
                QUESTION, {"callbacks": [handler]}
            )
        )
    assert only(handler).answer == {"text": "half of "}


@pytest.mark.parametrize("estimate", [True, False])
def test_cancelled_streams_keep_what_had_arrived(tmp_path: Path, estimate: bool) -> None:
    """A stream that nobody read to its end has the part that was read, also without estimates."""
    with TokenUsageHandler(tmp_path / "usage.db", capture_content=True, estimate=estimate) as handler:
        stream = chat(Reply(text="one two three"), kind=StreamingChat).stream(QUESTION, {"callbacks": [handler]})
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        (call,) = handler.store.calls()
        assert call.status == "cancelled"
        assert only(handler).answer == {"text": "one "}


def test_a_late_end_brings_the_whole_answer(handler: TokenUsageHandler) -> None:
    """A call that was taken for cancelled and ends all the same keeps its messages, and gets its answer."""
    has_begun, may_end = threading.Event(), threading.Event()

    def script(_: list[BaseMessage]) -> Reply:
        has_begun.set()
        may_end.wait(60)
        return Reply(text=ANSWER)

    asking = threading.Thread(target=lambda: ScriptedChat(script=script).invoke(QUESTION, {"callbacks": [handler]}))
    asking.start()
    assert has_begun.wait(60)
    handler._capture.close_open_calls()
    assert (only(handler).messages[0]["text"], only(handler).answer) == (QUESTION, None)
    may_end.set()
    asking.join()
    assert (only(handler).messages[0]["text"], only(handler).answer) == (QUESTION, {"text": ANSWER})


def test_two_handlers_keep_it_once(tmp_path: Path) -> None:
    """Two on one store, of which one captures: one call, and what was said in it."""
    with (
        TokenUsageHandler(tmp_path / "u.db") as silent,
        TokenUsageHandler(tmp_path / "u.db", capture_content=True) as keen,
    ):
        chat().invoke(QUESTION, {"callbacks": [silent, keen]})
        assert only(silent).answer == {"text": ANSWER}


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_option_is_checked(tmp_path: Path, value: Any) -> None:
    """It is yes or no, and nothing that may be taken for one."""
    with pytest.raises(TokensError, match="capture_content"):
        TokenUsageHandler(tmp_path / "usage.db", capture_content=value)


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    """By default no text is in any file, and no line of the journal is longer than without the option."""
    store = FailingStore(tmp_path / "usage.db")
    store.trouble = OSError("away")
    with TokenUsageHandler(store) as handler:
        chat().invoke(QUESTION, {"callbacks": [handler]})
        (lines,) = [file.read_bytes() for file in tmp_path.rglob("*.jsonl")]
        assert [line.split(b'"')[5] for line in lines.splitlines()] == [b"call", b"run"]
        store.trouble = None
        (call,) = handler.store.calls()
        assert handler.store.content(call.call_id) is None
        assert handler.store.calls_said_like("") == []
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or QUESTION.encode() not in file.read_bytes()
            assert not file.is_file() or ANSWER.encode() not in file.read_bytes()


def test_nothing_else_shows_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the option, no text is in calls, runs, exports, tables or logs: only in what asks for it."""
    with TokenUsageHandler(tmp_path / "usage.db", capture_content=True) as handler:
        chat().invoke(QUESTION, {"callbacks": [handler], "run_name": "r"})
        store, (call,) = handler.store, handler.store.calls()
        for kind in ("csv", "json", "jsonl"):
            store.export(tmp_path / f"calls.{kind}")
        shown = [repr(call), str(store.breakdown("chain")), store._repr_html_(), handler._repr_html_(), repr(store)]
        assert handler.last_run is not None
        shown += [str(handler.last_run.to_dict()), handler.last_run.summary(), str(handler.doctor()), caplog.text]
        shown += [file.read_text(encoding="utf-8") for file in tmp_path.glob("calls.*")]
    for text in shown:
        assert QUESTION not in text
        assert ANSWER not in text


# On its way


def make_content(**more: Any) -> ContentFact:
    """What was said in a call at noon."""
    return ContentFact(**{"call_id": "c", "messages": '[{"role":"human","text":"é"}]', **more})


def test_lines_of_the_journal_are_read_back() -> None:
    """As they were written; one with what no database takes is refused."""
    fact = make_content(answer='{"text":"a"}', answer_cut=True, revision=1)
    assert decode(encode(fact)) == fact
    with pytest.raises(ValueError, match="no database takes"):
        decode(encode(make_content(messages="\0")))


def test_a_killed_process_leaves_it_in_the_journal(tmp_path: Path) -> None:
    """Once the hook has returned, what was said survives a kill, and the next opener stores it once."""
    program = """
handler = TokenUsageHandler(StuckStore(path), capture_content=True)
ScriptedChat().invoke("what did I ask", {"callbacks": [handler], "run_id": __import__("uuid").UUID(int=7)})
say(job, "00000000-0000-0000-0000-000000000007")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with Crew() as crew:
        (ended,) = crew.run((tmp_path / "usage.db", program))
    assert ended.code == -signal.SIGKILL
    with TokenUsageHandler(tmp_path / "usage.db") as handler:
        handler.record({"input_tokens": 1, "output_tokens": 1})
        handler.close()
    store = open_store(tmp_path / "usage.db")
    content = store.content(ended.acknowledged[0])
    assert content is not None
    assert content.messages == ({"role": "human", "text": "what did I ask"},)
    assert content.answer == {"text": "a short answer"}
    assert store.check().is_clean
    store.close()


def test_a_full_journal_keeps_calls(tmp_path: Path) -> None:
    """Half of the journal's room is for what was said; beyond it, calls are kept without, counted, and safe."""
    store = FailingStore(tmp_path / "usage.db")
    store.trouble = OSError("away")
    with TokenUsageHandler(store, capture_content=True) as handler:
        journal = handler._capture.recorder._journal
        assert isinstance(journal, Journal)
        journal._max_bytes = 60_000
        for number in range(8):
            chat().invoke(f"{number} " + "x" * 10_000, {"callbacks": [handler]})
        stats = handler.stats()
        assert (stats.unprotected, stats.dropped) == (0, 6)
        store.trouble = None
        calls = handler.store.calls()
        assert len(calls) == 8
        assert sum(handler.store.content(call.call_id) is not None for call in calls) == 2


def test_much_that_waits_is_in_the_journal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a database is away, memory holds few of the long texts; all are stored once it is back."""
    monkeypatch.setattr(tally, "_BEHIND", 6)
    store = FailingStore(tmp_path / "usage.db")
    store.trouble = OSError("away")
    with TokenUsageHandler(store, capture_content=True) as handler:
        for number in range(20):
            chat().invoke(f"question {number}", {"callbacks": [handler]})
        counts = handler._capture.recorder._tally
        assert counts._memory.waiting <= 8
        assert counts._spill.waiting > 40
        store.trouble = None
        calls = handler.store.calls()
        said = {handler.store.content(call.call_id).messages[0]["text"] for call in calls}  # type: ignore[union-attr]
    assert said == {f"question {number}" for number in range(20)}


def test_an_error_inside_loses_no_call(
    handler: TokenUsageHandler, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Whatever goes wrong while a text is written down: the call is recorded, and the log quotes no text."""

    def failing(*_: Any) -> None:
        raise KeyError(QUESTION)

    monkeypatch.setattr("langchain_tokens.transcripts.written_messages", failing)
    monkeypatch.setattr("langchain_tokens.transcripts.written_answer", failing)
    chat().invoke(QUESTION, {"callbacks": [handler]})
    (call,) = handler.store.calls()
    assert call.status == "ok"
    assert handler.store.content(call.call_id) is None
    assert "could not be kept (KeyError)" in caplog.text
    assert QUESTION not in caplog.text
