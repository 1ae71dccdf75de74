"""Text that PostgreSQL, or UTF-8, does not take: memory, journal and every database have the same instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_tokens import TokenUsageHandler
from langchain_tokens.call import Call, bounded_call, bounded_fact
from langchain_tokens.codec import encode
from langchain_tokens.recovery import recover
from langchain_tokens.run import Run
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.tables import CALLS, RUNS
from langchain_tokens.store.target import parse_target
from langchain_tokens.trouble import Warnings
from tests.builders import make_call, make_fact, make_usage

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

LONG = 60.0
"""Seconds that no test takes: a limit for what must come soon."""
BAD, MENDED = "a\0b", "a\ufffdb"
CALL_TEXTS = {
    **{name: name for name in ("call_id", "run_id", "parent_run_id", "message_id", "path", "node", "attempt_error")},
    **{name: name for name in ("mode", "requested_model", "provider", "error_type", "error_message", "finish_reason")},
    **{name: name for name in ("price_source", "price_version", "priced_provider", "priced_model", "prompt_mark")},
    "session_id": "session",
    "chain_name": "chain",
    "agent_name": "agent",
    "model_name": "model",
    "user_id": "user",
}
"""Column of a call → its field."""
RUN_TEXTS = {
    **{name: name for name in ("run_id", "name", "mode", "error_type", "error_message")},
    "session_id": "session",
    "user_id": "user",
}
OWN_WORDS = {"retry_kind", "price_status", "status", "usage_source", "known_by", "service_tier"}
"""Columns that hold words of this package's only, and one that is in the usage."""
SAID: dict[str, dict[str, Any]] = {
    "model": {"parameters": {"model": BAD}},
    "the client's model": {"metadata": {"ls_model_name": BAD}},
    "provider": {"metadata": {"ls_provider": BAD}},
    "the answer's model": {"answer": {"response_metadata": {"model_name": BAD}}},
    "finish reason": {"answer": {"response_metadata": {"finish_reason": BAD}}},
    "service tier": {"answer": {"response_metadata": {"service_tier": BAD}}},
    "message id": {"answer": {"id": BAD}},
    "tool": {"answer": {"tool_calls": [{"name": BAD, "args": {}, "id": "1"}]}},
    "run name": {"name": BAD},
    "node": {"metadata": {"langgraph_node": BAD}},
    "thread": {"metadata": {"thread_id": BAD}},
    "names": {"metadata": {f"tokens_{name}": BAD for name in ("session", "user", "chain", "agent", "mode", "error")}},
    "tag": {"metadata": {"tokens_tag_team": BAD, f"tokens_tag_{BAD}": "x"}},
    "half a pair": {"metadata": {"tokens_session": "a\udfffb", "ls_provider": "a\ud800b"}},
}
"""What somebody says of a call → where it is in what LangChain hands over."""


@pytest.fixture
def handler(lasting_database: Database) -> Iterator[TokenUsageHandler]:
    """A handler on each kind of database."""
    with closing(TokenUsageHandler(lasting_database.url)) as made:
        yield made


def call_once(handler: TokenUsageHandler, said: dict[str, Any]) -> None:
    """Let LangChain tell of one call."""
    run = uuid4()
    handler.on_chat_model_start(
        {"name": "Chat"},
        [[]],
        run_id=run,
        name=said.get("name"),
        invocation_params={"model": "gpt-4o", **said.get("parameters", {})},
        metadata={"ls_provider": "openai", **said.get("metadata", {})},
    )
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    message = AIMessage("x", usage_metadata=usage, **{"id": "m", **said.get("answer", {})})
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run)


def texts_of(call: Call) -> str:
    """All that a call says, beside the provider's payload."""
    return repr(replace(call, raw_usage=None))


def texts_of_run(run: Run) -> str:
    """What is known of a run beside its calls."""
    return repr(replace(run._source.fact, is_given=False))


def test_names_that_nobody_can_store_are_mended(handler: TokenUsageHandler) -> None:
    """Wherever a NUL or half a pair is in what LangChain says, the call is stored, as memory has it."""
    for number, said in enumerate(SAID.values(), start=1):
        call_once(handler, said)
        assert handler.flush(LONG)
        assert (handler.stats().refused, handler.stats().stored) == (0, 2 * number), said

    store = handler.store
    for dimension in ("model", "provider", "session", "user", "chain", "agent", "mode", "tag:team", f"tag:{MENDED}"):
        keys = {str(dict(row.key)): row.calls for row in store.breakdown(dimension)}
        assert keys == {str(dict(row.key)): row.calls for row in handler.breakdown(dimension)}
        assert MENDED in str(keys)
    calls, runs = store.calls(), store.runs()
    assert sorted(map(texts_of, calls)) == sorted(texts_of(call) for run in handler.runs for call in run.calls)
    assert sorted(map(texts_of_run, runs)) == sorted(map(texts_of_run, handler.runs))
    assert not any(mark in said for said in map(texts_of, calls) for mark in ("\\x00", "\\ud800", "\\udfff"))
    assert [call.tool_calls for call in store.calls() if call.tool_calls] == [(MENDED,)]
    assert store.check().is_clean


def test_every_text_of_an_earlier_journal_is_mended(lasting_database: Database) -> None:
    """What an earlier version left, with a NUL in any text, is delivered with U+FFFD in its place."""
    calls = [make_call(**{field: BAD}) for field in CALL_TEXTS.values()]
    calls += [
        make_call(tags={BAD: BAD}),
        make_call(tool_calls=(BAD,)),
        make_call(usage=make_usage(service_tier=BAD, other_units={BAD: 1})),
    ]
    facts = [make_fact(**{"run_id": f"run of {field}", field: BAD}) for field in RUN_TEXTS.values()]
    facts.append(make_fact("run of tags", tags={BAD: BAD}))
    target = parse_target(lasting_database.url)
    folder = target.journal_folder
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / "1-dead.jsonl").write_bytes(b"".join(map(encode, [*calls, *facts])))

    with closing(UsageStore(target)) as store:
        assert recover(folder, store, None, Warnings()) == len(calls) + len(facts)
        assert list(folder.parent.glob(f"{folder.name}/*.bad")) == []
        assert {call.call_id: call for call in store.calls(limit=1_000)} == {
            call.call_id: call for call in map(bounded_call, calls)
        }
        said = {run.run_id: texts_of_run(run) for run in store.runs(limit=1_000)}
    for fact in map(bounded_fact, facts):
        assert MENDED in said[fact.run_id]
        assert "\\x00" not in said[fact.run_id]


def test_every_text_column_is_tried() -> None:
    """A new column with text has to be mended, too."""
    for table, known in ((CALLS, CALL_TEXTS), (RUNS, RUN_TEXTS)):
        columns = {column.name for column in table.columns if column.type.__class__.__name__ == "Text"}
        assert columns - OWN_WORDS == known.keys()
    for field in CALL_TEXTS.values():
        assert getattr(bounded_call(make_call(**{field: BAD})), field) == MENDED
    for field in RUN_TEXTS.values():
        assert getattr(bounded_fact(make_fact(**{"run_id": "r", field: BAD})), field) == MENDED
