"""Does a file have the same calls as the store? Every field of every call, whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from langchain_tokens.call import MONEY, Call
from langchain_tokens.errors import MissingExtraError, QueryError, StoreError
from langchain_tokens.exporting import COLUMNS, CallFile
from langchain_tokens.render import from_spreadsheet, to_spreadsheet
from langchain_tokens.store.store import UsageStore
from langchain_tokens.usage import TokenUsage
from tests.builders import NOON, make_call, make_fact
from tests.test_rollups import some_call

pytest_plugins = ("tests.databases",)

USAGE = [item.name for item in dataclasses.fields(TokenUsage)]
TUPLES = ("tool_calls", "usage_flags", "price_flags")


def full_call() -> Call:
    """A call that knows everything there is to know, none of it twice the same."""
    return Call(
        call_id="call",
        run_id="run",
        parent_run_id="parent",
        session="s\u00e9ance",
        chain="sql_fix",
        agent="\u732b",
        path="a/b\n",
        node="node",
        step=3,
        attempt=2,
        attempt_error="no such column",
        retry_kind="retry",
        mode="chat",
        model="gpt-4o-2024",
        requested_model="gpt-4o",
        provider="openai",
        user="user",
        tags={"team": 'a "b"', "\u732b": "\\"},
        started_at=datetime(2026, 11, 20, 17, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        ended_at=datetime(2026, 11, 20, 12, 0, 1, 1, tzinfo=UTC),
        duration_ms=877.001,
        time_to_first_token_ms=0.25,
        usage=TokenUsage(
            **{name: 2**53 + place for place, name in enumerate(USAGE) if name not in ("other_units", "service_tier")},
            other_units={"seconds": 1.5, "images": 2},
            service_tier="flex",
        ),
        usage_source="provider",
        usage_flags=("total_mismatch", "odd"),
        saved_usage=TokenUsage(input_tokens=1, other_units={"x": 1}),
        raw_usage={"prompt_tokens": 1, "deep": {"list": [1, None, "\u00e9"]}},
        estimate_basis={"sent": 10},
        **{name: Decimal(f"{place}.000000000001") for place, name in enumerate(MONEY)},
        price_status="reported",
        price_source="provider",
        price_version="1",
        unit_prices={"input": "2.5"},
        priced_provider="openai",
        priced_model="gpt-4o",
        price_context={"service_tier": "flex"},
        price_flags=("standard_estimate",),
        status="error",
        error_type="RateLimitError",
        error_message="slow down",
        tool_calls=("search", "search"),
        streamed=True,
        finish_reason="stop",
        message_id="m",
        superseded=True,
        revision=4,
    )


def read_back(path: Path) -> dict[str, Call]:
    """The calls in a file, by their ids."""
    calls = [call_of(row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    assert len({call.call_id for call in calls}) == len(calls)
    return {call.call_id: call for call in calls}


def call_of(row: dict[str, Any]) -> Call:
    """A call as its row in a file has it."""
    speed = row.pop("tokens_per_second")
    for name, kind in COLUMNS.items():
        if kind == "json" and row[name] is not None:
            row[name] = json.loads(row[name])
    counts = {name: row.pop(name) for name in USAGE}
    usage = None if all(value is None for value in counts.values()) else TokenUsage(**counts)
    for name in TUPLES:
        row[name] = tuple(row[name] or ())
    row["tags"] = row["tags"] or {}
    row["saved_usage"] = None if row["saved_usage"] is None else TokenUsage(**row["saved_usage"])
    call = Call(**row, usage=usage)
    assert call.tokens_per_second == speed
    return call


def test_a_file_has_every_field_of_every_call(store: UsageStore, tmp_path: Path) -> None:
    """What is read back equals what is stored: money to the last digit, times to the microsecond, unknown as null."""
    chance = random.Random(2)
    store.add(
        [full_call(), make_call(tokens=None), make_call(tokens=(0, None)), *(some_call(chance) for _ in range(50))]
    )
    assert store.export(tmp_path / "calls.parquet") == 53
    found = read_back(tmp_path / "calls.parquet")
    assert found == {call.call_id: call for call in store.calls()}
    assert found["call"] == full_call()


def test_columns_have_proper_types(store: UsageStore, tmp_path: Path) -> None:
    """Every field of a call and its usage is a column of its own type; what nobody knows is null."""
    store.add([make_call(tokens=None, tags={})])
    store.export(tmp_path / "calls.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "calls.parquet")
    fields = {item.name for item in dataclasses.fields(Call)} - {"usage"}
    assert set(table.schema.names) == {*fields, *USAGE, "tokens_per_second"}
    types = {name: table.schema.field(name).type for name in table.schema.names}
    assert types["started_at"] == pyarrow.timestamp("us", tz="UTC")
    assert types["input_tokens"] == types["attempt"] == pyarrow.int64()
    assert {types[name] for name in MONEY} == {pyarrow.decimal128(38, 12)}
    assert types["tags"] == types["raw_usage"] == types["session"] == pyarrow.string()
    (row,) = table.to_pylist()
    assert [row[name] for name in (*USAGE, *MONEY, "tags", "session")] == [None] * (len(USAGE) + len(MONEY) + 2)


def test_filters_choose_and_the_oldest_comes_first(store: UsageStore, tmp_path: Path) -> None:
    """The filters are those of every question, and the calls lie in the order of their time."""
    moments = [NOON + timedelta(minutes=minutes) for minutes in (3, 1, 2, 9)]
    store.add([make_call(started_at=moment, chain="a" if moment.minute < 9 else "b") for moment in moments])
    assert store.export(tmp_path / "calls.parquet", chain="a", since=NOON + timedelta(minutes=2)) == 2
    found = pyarrow.parquet.read_table(tmp_path / "calls.parquet")["started_at"].to_pylist()
    assert found == [moments[2], moments[0]]
    assert store.export(tmp_path / "none.parquet", chain="nobody") == 0
    assert read_back(tmp_path / "none.parquet") == {}


def test_calls_are_written_a_few_at_a_time(store: UsageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more calls are held than make one group of rows."""
    monkeypatch.setattr("langchain_tokens.store.exports.BATCH", 10)
    store.add([make_call() for _ in range(35)])
    store.export(tmp_path / "calls.parquet")
    found = pyarrow.parquet.read_metadata(tmp_path / "calls.parquet")
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [10, 10, 10, 5]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (
            "calls.xlsx",
            QueryError,
            r"the ending of '.*calls\.xlsx' is no kind .* expected one of parquet, jsonl, json, csv",
        ),
        ("calls", QueryError, "is no kind of file"),
        ("calls.parquet.gz", QueryError, r"leave \.gz away"),
        ("there.parquet", StoreError, "is there already, and was left as it is"),
        ("nowhere/calls.parquet", StoreError, "folder that does not exist; make .*nowhere first"),
        ("a\0.parquet", StoreError, "has a NUL in it"),
    ],
)
def test_a_wrong_goal_is_refused(
    memory_store: UsageStore, tmp_path: Path, name: str, error: type[Exception], said: str
) -> None:
    """Another kind of file, one that is there, or a folder that is not, is one clear error, and nothing is touched."""
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "there.parquet").write_text("mine")
    with pytest.raises(error, match=said):
        memory_store.export(folder / name)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("there.parquet", "mine")]


def test_without_pyarrow_the_extra_is_named(
    memory_store: UsageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pyarrow is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain_tokens\[export\]'"):
        memory_store.export(tmp_path / "calls.parquet")


def full_disk(descriptor: int) -> None:
    """A device without room."""
    raise OSError(28, "No space left on device")


def unwritable(call: Call) -> Call:
    """A call with a count that no file can hold."""
    return dataclasses.replace(call, step=2**80)


@pytest.mark.parametrize("spoil", ["disk", "value", "reader", "rival"])
def test_a_failed_export_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    """Whatever fails, no file is left, half or whole, and a file that others put there meanwhile stays."""
    call, folder = make_call(), tmp_path / "exports"
    folder.mkdir()
    goal = folder / "calls.parquet"
    if spoil == "disk":
        monkeypatch.setattr("langchain_tokens.wholefile.sync_file", full_disk)

    def fail() -> None:
        with CallFile(goal) as file:
            file.write([call])
            if spoil == "rival":
                goal.write_text("theirs")
            if spoil == "value":
                file.write([unwritable(call)])
            if spoil == "reader":
                raise StoreError("the store is gone")

    with pytest.raises(StoreError):
        fail()
    assert [path.read_text() for path in folder.iterdir()] == (["theirs"] if spoil == "rival" else [])


@pytest.mark.parametrize("name", ["c.parquet", "c.csv", "c.json", "c.jsonl", "c.jsonl.gz"])
def test_an_interrupted_export_leaves_what_was_there(store: UsageStore, tmp_path: Path, name: str) -> None:
    """Ctrl-C in the middle leaves no file, and one that was to be replaced as it was; with `force` the next one replaces it."""
    folder = tmp_path / "exports"
    folder.mkdir()
    store.add([make_call()])

    def interrupt(count: int) -> None:
        assert count == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.export(folder / name, progress=interrupt)
    assert list(folder.iterdir()) == []
    (folder / name).write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        store.export(folder / name, progress=interrupt, force=True)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mine")]
    assert store.export(folder / name, force=True) == 1
    assert (folder / name).read_bytes() != b"mine"


def test_text_formats_say_the_same(memory_store: UsageStore, tmp_path: Path) -> None:
    """JSON has money as text and unknown as null, CSV plain decimals and empty cells; times are UTC in both."""
    memory_store.delete(until="2100-01-01")
    memory_store.add(
        [dataclasses.replace(full_call(), agent="=cmd|' /C calc'!A0", chain=None)], [make_fact("run", name="n")]
    )
    for ending in ("csv", "json", "jsonl"):
        memory_store.export(tmp_path / f"c.{ending}")
    document = json.loads((tmp_path / "c.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [*document["calls"], *document["runs"]] == lines
    assert (document["schema_version"], [line["kind"] for line in lines]) == (1, ["call", "run"])
    call = lines[0]
    assert (call["cost_usd"], call["chain"], call["started_at"]) == (
        "0.000000000001",
        None,
        "2026-11-20T12:00:00.123456+00:00",
    )
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["cost_usd"], row["chain"], row["started_at"]) == (
        "0.000000000001",
        "",
        "2026-11-20T12:00:00.123456+00:00",
    )
    assert (row["agent"], call["agent"], row["streamed"]) == ("'=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0", "true")
    assert json.loads(row["tags"]) == call["tags"]


@pytest.mark.parametrize("text", ["", "'", "''", "=1", "'=1", "''=1", "a'", "'a", "@x", "plain"])
def test_cells_of_a_spreadsheet_come_back(text: str) -> None:
    """What is written for a spreadsheet is no formula and not empty, and comes back as it was."""
    cell = to_spreadsheet(text)
    assert cell[:1] not in ("", "=", "+", "-", "@")
    assert from_spreadsheet(cell) == text
