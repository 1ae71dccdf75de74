"""Do files become the right calls, each once? Round trips, the known forms, rows and files that are wrong."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from langchain_tokens import UsageStore
from langchain_tokens.call import Call
from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.importing import documents, lines
from langchain_tokens.importing.forms import FORMS, form_of
from langchain_tokens.importing.results import RESULT_COLUMNS
from langchain_tokens.importing.values import as_moment
from langchain_tokens.store.target import parse_target
from langchain_tokens.usage import TokenUsage
from tests.builders import NOON, make_call, make_fact, make_usage, random_calls
from tests.made_usage import store_of
from tests.test_exporting import full_call
from tests.test_rollups import some_call

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

MakeStore = Callable[["Database"], UsageStore]
FILES = ("calls.csv", "calls.json", "calls.jsonl", "calls.parquet", "calls.csv.gz", "calls.jsonl.gz")
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "'=1+1",
    "''@x",
    "-1",
    "+1",
    "'",
    "a\r\nb",
    "a\rb",
    'say "no"',
    ";,|\t",
    "<b>",
    "\u202e\u200b",
    "null",
    "nan",
    "1.0",
    "\ud83d\udca9".encode("utf-16", "surrogatepass").decode("utf-16"),
)
"""Names that CSV, JSON, a spreadsheet or a careless reader makes something else of."""
SPENT = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "hash",
    "spend": 0.00025,
    "total_tokens": 120,
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "startTime": "2026-11-20T12:00:00.000Z",
    "endTime": "2026-11-20T12:00:01.500Z",
    "completionStartTime": "2026-11-20T12:00:00.250Z",
    "model": "openai/gpt-4o-mini",
    "model_group": "small",
    "custom_llm_provider": "openai",
    "user": "u",
    "end_user": "",
    "team_id": "blue",
    "session_id": "s1",
    "status": "success",
    "cache_hit": "False",
    "request_tags": '["a", "b"]',
    "metadata": "{}",
    "messages": "SECRET",
    "response": "SECRET",
}
"""A row of LiteLLM's table."""
OBSERVED = {
    "id": "0198a8f2-0000-7000-8000-000000000001",
    "trace_id": "0198a8f2-0000-7000-8000-000000000002",
    "type": "GENERATION",
    "name": "sql_fix",
    "trace_name": "nl2sql",
    "start_time": "2026-11-20 12:00:00.000000",
    "end_time": "2026-11-20 12:00:02.000000",
    "level": "DEFAULT",
    "status_message": "",
    "provided_model_name": "gpt-4o-mini",
    "usage_details": {"input": 40, "input_cached_tokens": 60, "output": 15, "output_reasoning": 5, "total": 120},
    "cost_details": {"input": 0.1, "output": 0.2, "total": 0.3},
    "total_cost": 0.3,
    "latency": 2.0,
    "time_to_first_token": 0.5,
    "metadata": {"ls_provider": "openai", "x": "SECRET"},
    "user_id": "u",
    "session_id": "s1",
    "environment": "production",
    "tool_call_names": ["search"],
    "input": "SECRET",
    "output": "SECRET",
}
"""A row of Langfuse's export."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once."""
    store = UsageStore(parse_target(tmp_path_factory.mktemp("template") / "empty.db"))
    store.calls()
    store.close()
    return Path(str(store.target.path))


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Iterator[Callable[[], UsageStore]]:
    """Makes empty stores."""
    made: list[UsageStore] = []

    def make() -> UsageStore:
        path = tmp_path / f"fresh-{len(made)}.db"
        shutil.copyfile(template, path)
        made.append(UsageStore(parse_target(path)))
        return made[-1]

    yield make
    for store in made:
        store.close()


def write(name: str, text: str | bytes) -> Path:
    """A file in the working directory."""
    path = Path(name).absolute()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows in a file of the kind that its name says; what is no text is JSON in CSV."""
    if name.endswith(".jsonl"):
        return write(name, "".join(json.dumps(row) + "\n" for row in rows))
    if name.endswith(".json"):
        return write(name, json.dumps(list(rows), indent=1))
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows(
            {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in row.items()}
            for row in rows
        )
    return Path(name).absolute()


def only(store: UsageStore) -> Call:
    """The one call of a store."""
    (call,) = store.calls()
    return call


def everything(store: UsageStore) -> list[Any]:
    """All calls and runs, and what they add up to."""
    runs = [run.to_dict() for run in store.runs(limit=1_000)]
    return [list(store.calls(limit=10_000)), runs, store.breakdown("chain", "model"), store.sessions()]


# Round trips


def test_an_export_comes_back_equal(store: UsageStore, fresh: Callable[[], UsageStore], tmp_path: Path) -> None:
    """What was exported from any database and imported into an empty one is equal, and is not stored twice."""
    chance = random.Random(3)
    odd = [make_call(agent=text, chain=text, error_message=text, tags={text: text}) for text in HOSTILE]
    store.add([full_call(), make_call(finish_reason="", tokens=None), *odd, *(some_call(chance) for _ in range(30))])
    for name in FILES:
        copy = fresh()
        count = store.export(tmp_path / name)
        first, again = copy.import_file(tmp_path / name), copy.import_file(tmp_path / name)
        assert (first.format, first.stored, first.refused) == ("calls", count, ()), name
        assert (again.stored, again.there) == (0, count)
        assert list(copy.calls(limit=100)) == list(store.calls(limit=100))
        assert copy.breakdown("agent", "user") == store.breakdown("agent", "user")
        assert (copy.wrong_rollups(), copy.wrong_totals()) == ([], [])


@pytest.mark.parametrize("name", ["calls.json", "calls.jsonl"])
def test_runs_come_back_with_their_facts(store: UsageStore, database: Database, tmp_path: Path, name: str) -> None:
    """JSON holds runs as well: name, session, status, error and totals are what they were, also on PostgreSQL."""
    facts = [
        make_fact("run-1", name="nl2sql", session="s", mode="rag", user="u", tags={"a": "b"}),
        make_fact("run-2", ended_at=None),
        make_fact("run-3", status="interrupted", error_type="E", error_message="gone"),
    ]
    store.add(
        [make_call(run_id="run-1", cost="1"), make_call(run_id="run-3", tokens=None), make_call(run_id="lost")], facts
    )
    before = everything(store)
    store.export(tmp_path / name)
    store.delete(until="2100-01-01")
    assert store.runs() == []
    assert store.import_file(tmp_path / name).runs == 3
    assert everything(store) == before


@given(calls=random_calls(), name=st.sampled_from(FILES[:3]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_calls_come_back_equal(tmp_path: Path, calls: list[Call], name: str) -> None:
    """Whatever calls there are, each text format brings them back to the last digit."""
    assume(calls or name != "calls.jsonl")  # JSON Lines without a line are an empty file
    with store_of(calls) as store, store_of([]) as other:
        store.export(tmp_path / name, force=True)
        assert other.import_file(tmp_path / name).stored == len(calls)
        assert list(other.calls()) == list(store.calls())


def test_a_later_revision_corrects_and_an_earlier_does_not(fresh: Callable[[], UsageStore], tmp_path: Path) -> None:
    """Of two states of a call the later one stays, whichever file comes first."""
    old, new = make_call(call_id="c", tokens=(1, 1)), make_call(call_id="c", tokens=(5, 5), revision=1)
    for call, name in ((old, "old.jsonl"), (new, "new.jsonl")):
        source = fresh()
        source.add([call])
        source.export(tmp_path / name)
    copy = fresh()
    assert [copy.import_file(tmp_path / "old.jsonl").stored, copy.import_file(tmp_path / "new.jsonl").corrected] == [
        1,
        1,
    ]
    assert copy.import_file(tmp_path / "old.jsonl").there == 1
    assert only(copy) == new


def test_an_empty_name_in_an_export_is_none(fresh: Callable[[], UsageStore]) -> None:
    """Whoever writes our form otherwise may say "" for no name: sums and rows then agree that there is none."""
    store, names = fresh(), ("session", "user", "mode", "agent", "chain", "path", "provider", "model")
    needed = {"usage_source": "missing", "price_status": "unpriced", "attempt": 1, "revision": 0, "status": "ok"}
    call = {"kind": "call", "call_id": "c", "run_id": "r", "started_at": NOON.isoformat(), **needed}
    run = {"kind": "run", "run_id": "r", "started_at": NOON.isoformat(), "status": "ok", "session": "", "user": ""}
    store.import_file(write_rows("a.jsonl", [call | dict.fromkeys(names, ""), run]))
    assert [getattr(only(store), name) for name in names] == [None] * len(names)
    assert [found.session for found in store.runs()] == [None]
    assert [row.key["chain"] for row in store.breakdown("chain", chain="(none)")] == [None]


def test_a_run_that_is_known_better_stays(fresh: Callable[[], UsageStore], tmp_path: Path) -> None:
    """Calls from CSV, which has no runs, do not change what is stored of their run."""
    store = fresh()
    store.add(
        [make_call(call_id="a"), make_call(call_id="b", status="error")], [make_fact("run-1", name="n", status="ok")]
    )
    store.export(tmp_path / "calls.csv")
    store.delete(status="error")
    assert store.import_file(tmp_path / "calls.csv").stored == 1
    (run,) = store.runs()
    assert (run.name, run.status, len(run.calls)) == ("n", "ok", 2)


def test_a_later_version_is_refused(fresh: Callable[[], UsageStore], tmp_path: Path) -> None:
    """A file of a version that this one does not know is not guessed at."""
    store = fresh()
    store.add([make_call()])
    store.export(tmp_path / "a.jsonl")
    text = (tmp_path / "a.jsonl").read_text().replace('"schema_version":1', '"schema_version":2')
    imported = fresh().import_file(write("b.jsonl", text))
    assert (imported.stored, imported.refused_rows) == (0, 1)
    assert "schema_version is 2; this version of langchain_tokens reads 1" in imported.refused[0].reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"call_id": None}, "call_id is missing"),
        ({"started_at": "soon"}, "started_at is 'soon'; expected a time"),
        ({"started_at": "0001-01-01T00:00:00Z"}, "from 1970 on"),
        ({"status": "fine"}, "status is 'fine'; expected one of ok, error, cancelled, cached"),
        ({"input_tokens": -1}, "input_tokens is -1; expected a whole number"),
        ({"input_tokens": 1.5}, "input_tokens is 1.5"),
        ({"input_tokens": 2**70}, "input_tokens is 1180591620717411303424"),
        ({"cost_usd": "1e400"}, "cost_usd is '1e400'; expected US dollars"),
        ({"cost_usd": "NaNs"}, "cost_usd is 'NaNs'; expected a number"),
        ({"tags": ["a"]}, "tags is ['a']; expected a JSON object"),
        ({"tool_calls": {"a": 1}}, "tool_calls is {'a': 1}; expected a JSON list"),
        ({"streamed": "maybe"}, "streamed is 'maybe'; expected true or false"),
        ({"agent": "a\0b"}, "has a NUL"),
        ({"agent": ["x"]}, "agent=['x'] is a list"),
        ({"saved_usage": {"prompt": 1}}, "saved_usage has the key 'prompt'"),
        ({"raw_usage": json.loads('{"a":' * 200 + "1" + "}" * 200)}, "raw_usage is nested more than 100 deep"),
        ({"raw_usage": "[" * 100_000}, "expected JSON"),
    ],
)
def test_a_spoiled_row_is_refused_alone(
    fresh: Callable[[], UsageStore], tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    """A value that cannot be refuses its row, with the line and the reason; the rows around it are stored."""
    store = fresh()
    store.add([make_call(call_id=name) for name in "abc"])
    store.export(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    copy = fresh()
    imported = copy.import_file(write_rows("b.jsonl", [rows[0], rows[1] | changed, rows[2]]))
    assert (imported.rows, imported.stored, [refused.row for refused in imported.refused]) == (3, 2, [2])
    assert said in imported.refused[0].reason
    assert {call.call_id for call in copy.calls()} == {"a", "c"}


def test_what_the_database_refuses_is_refused_alone(
    store: UsageStore, fresh: Callable[[], UsageStore], tmp_path: Path
) -> None:
    """A value that only the database finds wrong, such as a sum beyond its numbers, keeps no other row out."""
    store.add(
        [make_call(call_id=name, started_at=NOON + timedelta(seconds=place)) for place, name in enumerate("abcd")]
    )
    store.export(tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    store.delete(until="2100-01-01")
    rows[1]["cost_usd"] = rows[2]["cost_usd"] = "9000000"
    imported = store.import_file(write_rows("b.jsonl", rows))
    assert {call.call_id for call in store.calls()} == {"a", "b", "d"}
    assert [refused.row for refused in imported.refused] == [3]
    assert (imported.stored, store.breakdown().total.cost_usd) == (3, 9_000_000)


def test_enormous_names_are_kept_as_elsewhere(store: UsageStore) -> None:
    """Names that no database's keys hold come in as their beginning with a mark, and the full name finds them."""
    names = {name: f"{name} " + "\u732b" * 4_000 for name in ("session", "agent", "chain", "model", "user", "path")}
    row = {"call_id": "a", "run_id": "r" * 5_000, "started_at": NOON.isoformat(), "status": "ok", **names}
    source = make_call(call_id="b")
    store.add([source])
    store.export("own.jsonl")
    own = json.loads(Path("own.jsonl").read_text().splitlines()[0])
    store.delete(until="2100-01-01")
    imported = store.import_file(write_rows("long.jsonl", [{**own, **row}]))
    assert (imported.stored, imported.refused_rows) == (1, 0)
    assert store.breakdown(agent=names["agent"], session=names["session"]).total.calls == 1


# Forms


def test_results_are_read_and_content_is_not_stored(fresh: Callable[[], UsageStore]) -> None:
    """Results become calls of a run for each document; what is missing stays unknown, and no prompt is stored."""
    rows = [
        {
            "document": "a.pdf",
            "prompt": "SECRET",
            "response": "SECRET",
            "status": "success",
            "error_message": None,
            "input_tokens": 1_000,
            "output_tokens": 100,
            "time_taken_seconds": 2.0,
            "tokens_per_second": 50.0,
            "model": "gpt-4o-mini",
            "provider": "openai",
            "timestamp": "2026-11-20T12:00:00Z",
        },
        {"document": "a.pdf", "status": "failed", "error_message": "timeout", "time_taken_seconds": 30},
        {"document": "b.pdf", "status": "success", "output_tokens": 7, "timestamp": 1_795_176_000},
    ]
    for name in ("r.jsonl", "r.json", "r.csv"):
        store = fresh()
        imported = store.import_file(write_rows(name, rows), session="batch-7", tags={"team": "a"})
        assert (imported.format, imported.stored, imported.undated) == ("results", 3, 1), name
        good, part = sorted(store.calls(status="ok"), key=lambda call: call.started_at)
        (failed,) = store.calls(status="error")
        assert good.usage == make_usage(1_000, 100)
        assert (good.duration_ms, good.tokens_per_second, good.started_at) == (2_000, 50, NOON)
        assert (good.price_status, good.cost_usd, good.session, good.tags) == (
            "priced",
            Decimal("0.00021"),
            "batch-7",
            {"team": "a"},
        )
        assert (failed.usage, failed.usage_source, failed.error_message) == (None, "missing", "timeout")
        assert failed.run_id == good.run_id != part.run_id
        assert part.usage == TokenUsage(output_tokens=7)
        assert {run.name for run in store.runs()} == {"a.pdf", "b.pdf"}
        assert "SECRET" not in repr(store.calls())


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({"total_tokens": 99}, ("total_mismatch",)),
        ({"cached_tokens": 200}, ("cache_outside_input", "detail_above_total:cache_read_tokens")),
        ({"reasoning_tokens": 6}, ("detail_above_total:reasoning_tokens",)),
        ({"total_tokens": 105, "cached_tokens": 100, "reasoning_tokens": 5}, ()),
    ],
)
def test_results_that_contradict_themselves(
    fresh: Callable[[], UsageStore], caplog: pytest.LogCaptureFixture, more: dict[str, int], flags: tuple[str, ...]
) -> None:
    """Numbers that cannot all be true are kept as said and flagged; they are not priced, and no price is missed."""
    store = fresh()
    result = {"input_tokens": 100, "output_tokens": 5, "model": "gpt-4o-mini", "provider": "openai", **more}
    assert store.import_results([result]).stored == 1
    (call,) = store.calls()
    usage = call.usage or TokenUsage()
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 5, more.get("total_tokens", 105))
    assert (call.usage_flags, call.price_status) == (flags, "unpriced" if flags else "priced")
    assert store.check().is_clean
    assert caplog.text == ""


def test_results_are_the_same_in_every_kind_of_file(fresh: Callable[[], UsageStore]) -> None:
    """A result has the same id from CSV, JSON and as data, so that it is stored once whatever brought it."""
    rows = [{"prompt": f"p{number}", "status": "ok", "input_tokens": number, "output_tokens": 1} for number in range(3)]
    store = fresh()
    assert store.import_file(write_rows("r.csv", rows)).stored == 3
    assert store.import_file(write_rows("r.jsonl", rows[::-1])).there == 3
    assert store.import_results(rows).there == 3
    assert store.import_results([rows[0], rows[0] | {"prompt": "other"}]).stored == 1


def test_a_poller_may_hand_over_all_it_sees(store: UsageStore) -> None:
    """Results with ids are stored once, those that have not ended are refused and taken when they have."""
    seen = [{"id": "1", "status": "done", "input_tokens": 5, "output_tokens": 5}, {"id": "2", "status": "running"}]
    first = store.import_results(seen, session="b")
    later = store.import_results([*seen[:1], {"id": "2", "status": "done", "input_tokens": 1, "output_tokens": 1}, 7])  # type: ignore[list-item]
    assert (first.stored, first.refused[0].reason) == (
        1,
        "status is 'running'; expected an end, such as success, error, cancelled or cached",
    )
    assert (later.stored, later.there, later.refused[0].reason) == (1, 1, "is a int; expected a mapping")
    assert store.breakdown().total.total_tokens == 12


def test_what_pandas_has_for_nothing_is_unknown(fresh: Callable[[], UsageStore]) -> None:
    """Rows of a data frame have NaN or NaT where nothing is known: no name, no time, no count, and another column may tell."""
    pandas = pytest.importorskip("pandas")
    rows = [
        {
            "id": "1",
            "input_tokens": 5,
            "prompt_tokens": 9,
            "chain": "a",
            "started_at": NOON,
            "error": None,
            "usage": None,
        },
        {"id": "2", "prompt_tokens": 7, "chain": None, "started_at": None, "cost": None, "ended_at": pandas.NaT},
    ]
    store, before = fresh(), datetime.now(UTC)
    found = store.import_results(pandas.DataFrame(rows).to_dict("records"))
    assert (found.stored, found.undated, found.refused) == (2, 1, ())
    late, early = store.calls()
    assert late.started_at >= before
    assert [(call.chain, call.usage and call.usage.input_tokens) for call in (early, late)] == [("a", 5), (None, 7)]
    assert (late.usage and late.usage.output_tokens, late.cost_usd, late.status) == (None, None, "ok")


@pytest.mark.parametrize("usage", [5, True, [1, 2], [], "5", '"x"', "[]", {"a": 1}])
def test_a_usage_that_is_none_is_refused_alone(fresh: Callable[[], UsageStore], usage: object) -> None:
    """A column `usage` that holds no provider's usage refuses its row, and the others are stored."""
    good = {"id": "2", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    store = fresh()
    found = store.import_results([{"id": "1", "usage": usage}, good])
    assert (found.stored, [row.row for row in found.refused]) == (1, [1])
    assert found.refused[0].reason.endswith("expected a provider's usage")
    assert store.breakdown().total.total_tokens == 3


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (20261101, datetime(2026, 11, 1, tzinfo=UTC)),
        ("20261101", datetime(2026, 11, 1, tzinfo=UTC)),
        ("20261101120059", datetime(2026, 11, 1, 12, 0, 59, tzinfo=UTC)),
        (1_764_000_000, datetime(2025, 11, 24, 16, 0, tzinfo=UTC)),
        ("1764000000.5", datetime(2025, 11, 24, 16, 0, 0, 500_000, tzinfo=UTC)),
        (1_764_000_000_000, datetime(2025, 11, 24, 16, 0, tzinfo=UTC)),
        ("20261301", None),
        (1_764_000_000_000_000, None),
    ],
)
def test_numbers_are_times(said: object, right: datetime | None) -> None:
    """Digits are a date, a date with its time, or seconds or milliseconds since 1970; what is none of them is refused."""
    if right is not None:
        assert as_moment(said, "date") == right
    else:
        with pytest.raises(ValueError, match="expected a time"):
            as_moment(said, "date")


def test_the_calendar_s_end_is_a_time(store: UsageStore) -> None:
    """A row of the last second that there is, as some write for "never", is stored as the others are, and once."""
    rows = [
        {"id": str(at), "message_id": f"m{at}", "started_at": at, "input_tokens": 1}
        for at in ("9999-12-31T23:59:59Z", NOON)
    ]
    assert [store.import_results(rows).stored for _ in range(2)] == [2, 0]
    assert [call.started_at.year for call in store.calls()] == [9999, 2026]
    assert store.breakdown("month").total.calls == store.breakdown("week", tz="Asia/Kolkata").total.calls == 2


def test_documents_hold_their_results(fresh: Callable[[], UsageStore]) -> None:
    """A document with a list of results is a run of that many calls."""
    store = fresh()
    document = {"document": "a.pdf", "batch": "b1", "results": [{"input_tokens": 1}, {"input_tokens": 2}]}
    assert store.import_results([document]).stored == 2
    assert store.import_file(write("d.json", json.dumps(document, indent=2))).there == 2
    (run,) = store.runs()
    assert (run.name, len(run.calls), run.calls[0].tags) == ("a.pdf", 2, {"batch": "b1"})


def test_a_mapping_renames_columns(fresh: Callable[[], UsageStore]) -> None:
    """Columns of other names are read by a mapping, and constants fill what no column says."""
    store, rows = fresh(), [{"tokens_in": 10, "tokens_out": 5, "took": 1.5}]
    with pytest.raises(FormatError, match=r"no known form: tokens_in, took.*a mapping can rename"):
        store.import_file(write_rows("r.csv", [{"tokens_in": 1, "took": 2}]))
    mapping = write(
        "map.toml",
        '[columns]\ninput_tokens = "tokens_in"\noutput_tokens = "tokens_out"\ntime_taken_seconds = "took"\n'
        '[constants]\nmodel = "gpt-4o"\nprovider = "openai"\n',
    )
    assert store.import_file(write_rows("r.csv", rows), mapping=mapping).stored == 1
    call = only(store)
    assert (call.usage, call.model, call.duration_ms, call.price_status) == (
        make_usage(10, 5),
        "gpt-4o",
        1_500,
        "priced",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "is no TOML"),
        ("[columnss]\na = 1", "has 'columnss'; expected"),
        ("", "is empty"),
        ("columns = 1", "columns is a int"),
        ("[columns]\nmodel = 3", "columns.model is 3"),
    ],
)
def test_a_wrong_mapping_is_said(fresh: Callable[[], UsageStore], text: str, said: str) -> None:
    """A mapping that cannot be is one clear error."""
    with pytest.raises(FormatError, match=said):
        fresh().import_file(write_rows("r.csv", [{"input_tokens": 1, "a": 1}]), mapping=write("map.toml", text))


@pytest.mark.parametrize("name", ["spend.csv", "spend.json", "spend.jsonl"])
def test_litellm(fresh: Callable[[], UsageStore], name: str) -> None:
    """A spend log is a call with its id, times, cost as reported, names and tags."""
    store = fresh()
    failed = SPENT | {
        "request_id": "f",
        "status": "failure",
        "spend": 0,
        "total_tokens": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
    free = SPENT | {"request_id": "chatcmpl-2", "spend": 0.0, "model": "gpt-4o-mini", "endTime": "2026-11-20T12:00:01Z"}
    hit = SPENT | {"request_id": "chatcmpl-3", "cache_hit": "True", "spend": 0.0}
    imported = store.import_file(write_rows(name, [SPENT, failed, free, hit]))
    assert (imported.format, imported.stored, imported.refused) == ("litellm", 4, ())
    calls = {call.message_id: call for call in store.calls()}
    call = calls["chatcmpl-1"]
    assert (call.usage, call.started_at, call.duration_ms, call.time_to_first_token_ms) == (
        make_usage(100, 20),
        NOON,
        1_500,
        250,
    )
    assert (call.cost_usd, call.price_status, call.price_source) == (Decimal("0.00025"), "reported", "litellm")
    assert (call.model, call.requested_model, call.provider, call.session, call.user) == (
        "gpt-4o-mini",
        "small",
        "openai",
        "s1",
        "u",
    )
    assert call.tags == {"team": "blue", "call_type": "acompletion", "request_tags": "a, b"}
    assert (calls["f"].status, calls["f"].usage, calls["f"].cost_usd) == ("error", None, None)
    assert calls["chatcmpl-2"].price_status == "priced", "a cost of 0 for tokens says nothing"
    cached = calls["chatcmpl-3"]
    assert (cached.status, cached.cost_usd, cached.saved_usage, cached.usage) == (
        "cached",
        0,
        make_usage(100, 20),
        make_usage(0, 0),
    )
    assert "SECRET" not in repr(store.calls())


def test_an_answer_that_is_there_is_not_counted_again(store: UsageStore) -> None:
    """A row with a response id that a recorded call has is reported, whatever ids and times the systems gave it."""
    store.add(
        [make_call(message_id="chatcmpl-1", started_at=NOON - timedelta(hours=9)), make_call(message_id="chatcmpl-9")]
    )
    rows = [SPENT, SPENT | {"request_id": "chatcmpl-2"}, SPENT | {"request_id": "chatcmpl-2", "spend": 1}]
    for dry_run in (True, False):
        imported = store.import_file(write_rows("spend.csv", rows), dry_run=dry_run)
        assert (imported.stored, imported.there, imported.is_dry_run) == (1, 2, dry_run)
    assert store.breakdown().total.calls == 3


def test_litellm_keeps_the_provider_s_own_usage(fresh: Callable[[], UsageStore]) -> None:
    """Where the log holds the provider's usage, its details are read as those of a recorded call."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    store = fresh()
    store.import_file(write_rows("spend.jsonl", [SPENT | {"metadata": {"usage_object": usage}}]))
    assert only(store).usage == make_usage(100, 20, cache_read_tokens=60)


@pytest.mark.parametrize("name", ["o.csv", "o.json", "o.jsonl"])
def test_langfuse(fresh: Callable[[], UsageStore], name: str) -> None:
    """A generation is a call with LangChain's ids and inclusive counts; other observations are no calls."""
    store = fresh()
    imported = store.import_file(write_rows(name, [OBSERVED, OBSERVED | {"id": "x", "type": "SPAN"}]))
    assert (imported.format, imported.stored, imported.skipped) == ("langfuse", 1, 1)
    call = only(store)
    assert (call.call_id, call.run_id, call.chain, call.path) == (
        OBSERVED["id"],
        OBSERVED["trace_id"],
        "sql_fix",
        "nl2sql/sql_fix",
    )
    assert call.usage == make_usage(100, 20, cache_read_tokens=60, reasoning_tokens=5)
    assert (call.started_at, call.duration_ms, call.time_to_first_token_ms) == (NOON, 2_000, 500)
    assert (call.cost_usd, call.price_source, call.provider, call.tool_calls) == (
        Decimal("0.3"),
        "langfuse",
        "openai",
        ("search",),
    )
    assert "SECRET" not in repr(call)


@pytest.mark.parametrize(
    ("details", "usage", "flags"),
    [
        ({"input": 3, "output": 4}, make_usage(3, 4), ()),
        (
            {"input": 100, "output": 20, "input_cached_tokens": 60, "total": 120},
            make_usage(100, 20, cache_read_tokens=60),
            (),
        ),
        (
            {"input": 3, "output": 4, "total": 9},
            TokenUsage(input_tokens=3, output_tokens=4, total_tokens=9),
            ("total_mismatch",),
        ),
        ({"total": 9}, TokenUsage(total_tokens=9), ()),
        ({}, None, ()),
    ],
)
def test_langfuse_counts(
    fresh: Callable[[], UsageStore], details: dict[str, int], usage: Any, flags: tuple[str, ...]
) -> None:
    """Details beside their side or inside it, a total that is none, and nothing at all are each read as what they are."""
    store = fresh()
    store.import_results([OBSERVED | {"usage_details": details}], format="langfuse")
    assert (only(store).usage, only(store).usage_flags) == (usage, flags)


def test_batches_of_providers(fresh: Callable[[], UsageStore]) -> None:
    """Results of provider batches are calls at a batch's price; an error keeps its message."""
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    body = {
        "id": "chatcmpl-1",
        "created": int(NOON.timestamp()),
        "model": "gpt-4o-mini",
        "usage": usage,
        "choices": ["SECRET"],
    }
    openai = [
        {"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None},
        {
            "id": "batch_req_2",
            "custom_id": "b",
            "response": None,
            "error": {"code": "batch_expired", "message": "late"},
        },
    ]
    message = {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 10, "output_tokens": 5}}
    anthropic = [
        {"custom_id": "a", "result": {"type": "succeeded", "message": message}},
        {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"message": "bad"}}}},
    ]
    store = fresh()
    assert store.import_file(write_rows("o.jsonl", openai)).format == "openai-batch"
    assert store.import_file(write_rows("a.jsonl", anthropic)).format == "anthropic-batch"
    assert store.import_file(write_rows("o.jsonl", openai)).there == 2
    calls = {(call.provider, call.path): call for call in store.calls()}
    first = calls["openai", "a"]
    assert (first.usage, first.started_at, first.message_id) == (
        make_usage(100, 20, service_tier="batch"),
        NOON,
        "chatcmpl-1",
    )
    assert first.price_context == {"processing": "batch"}
    assert (calls["openai", "b"].status, calls["openai", "b"].error_message) == ("error", "late")
    assert (calls["anthropic", "a"].message_id, calls["anthropic", "b"].error_message) == ("msg_1", "bad")
    assert "SECRET" not in repr(store.calls())


OLD_TABLES = """
CREATE TABLE token_usage (id INTEGER PRIMARY KEY, session_id TEXT, message_id TEXT, timestamp TEXT, chat_mode TEXT,
    model_name TEXT, agent_name TEXT, input_tokens INTEGER, output_tokens INTEGER, total_tokens INTEGER, cost_usd REAL,
    duration_ms INTEGER, tool_calls TEXT, additional_info TEXT);
INSERT INTO token_usage VALUES (1, 's', 'm', '2026-11-20 12:00:00', 'RAG', 'gpt-4o-mini', 'RAGAgent', 100, 20, 120, 0.5, 900, '["search"]', NULL);
INSERT INTO token_usage VALUES (2, 's', 'm', '2026-11-20 12:00:01', 'RAG', 'gpt-4o-mini', 'Orchestrator', 10, NULL, NULL, 0, NULL, NULL, NULL);
"""
QUESTIONS = """
CREATE TABLE llm_token_logs (id INTEGER PRIMARY KEY, session_id TEXT, question TEXT, intent TEXT, timestamp TEXT,
    intent_prompt_tokens INTEGER, intent_completion_tokens INTEGER, intent_total_tokens INTEGER,
    table_selection_prompt_tokens INTEGER, table_selection_completion_tokens INTEGER, table_selection_total_tokens INTEGER,
    sql_generation_prompt_tokens INTEGER, sql_generation_completion_tokens INTEGER, sql_generation_total_tokens INTEGER,
    retry_count INTEGER, retry_total_tokens INTEGER, total_tokens INTEGER, estimated_cost REAL);
INSERT INTO llm_token_logs VALUES (1, 's', 'SECRET', 'query', '2026-11-20 12:00:00', 450, 5, 455, 0, 0, 0, 580, 25, 605, 2, 700, 1760, 0.1);
"""


def database_of(script: str) -> Path:
    """An application's SQLite file."""
    path = Path("app.db").absolute()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def test_a_table_token_usage(fresh: Callable[[], UsageStore]) -> None:
    """Rows of a tracker's own table are calls, those of one message a run; the file is only read."""
    store, path = fresh(), database_of(OLD_TABLES)
    before = path.read_bytes()
    assert store.import_file(path).stored == 2
    assert store.import_file(path).there == 2
    first, second = sorted(store.calls(), key=lambda call: call.started_at)
    assert (first.agent, first.mode, first.cost_usd, first.tool_calls, first.message_id) == (
        "RAGAgent",
        "RAG",
        Decimal("0.5"),
        ("search",),
        None,
    )
    assert (second.usage, second.cost_usd, second.run_id) == (TokenUsage(input_tokens=10), None, first.run_id)
    assert path.read_bytes() == before


def test_a_database_with_a_write_ahead_log_is_left_as_it_was(fresh: Callable[[], UsageStore]) -> None:
    """No log stays beside one that nobody has open; where an application has it open, the log's rows are read, too."""
    store, path = fresh(), database_of(f"PRAGMA journal_mode=WAL; {OLD_TABLES}")
    before, beside = path.read_bytes(), sorted(file.name for file in path.parent.glob("app.db*"))
    assert store.import_file(path).stored == 2
    assert (path.read_bytes(), sorted(file.name for file in path.parent.glob("app.db*"))) == (before, beside)
    assert beside == ["app.db"]
    with closing(sqlite3.connect(path)) as application:
        application.execute("UPDATE token_usage SET id = id + 10")
        application.commit()
        log = path.with_name("app.db-wal").read_bytes()
        assert store.import_file(path).stored == 2
        assert (path.read_bytes(), path.with_name("app.db-wal").read_bytes()) == (before, log)


def test_a_table_llm_token_logs(fresh: Callable[[], UsageStore]) -> None:
    """A question's row is a call for each chain that used tokens and one for its retries, which add up to its total."""
    store = fresh()
    assert store.import_file(database_of(QUESTIONS), mapping={"constants": {"x": 1}}).stored == 3
    assert {row.key["chain"]: row.total_tokens for row in store.breakdown("chain")} == {
        "intent_classification": 455,
        "sql_generation": 605,
        "sql_fix": 700,
    }
    (run,) = store.runs()
    assert (run.total.total_tokens, {call.usage_flags for call in run.calls}) == (1_760, {(), ("sum_of_retries",)})
    assert "SECRET" not in repr(store.calls())


def test_a_database_with_several_tables_asks_which(fresh: Callable[[], UsageStore]) -> None:
    """Where two tables could be meant the format says which; where none is, the tables are named."""
    store, path = fresh(), database_of(OLD_TABLES + QUESTIONS)
    with pytest.raises(FormatError, match=r"found: llm_token_logs \(llm_token_logs\), token_usage \(token_usage\)"):
        store.import_file(path)
    assert store.import_file(path, format="token_usage").stored == 2
    with pytest.raises(FormatError, match="none of its tables"):
        store.import_file(path, format="litellm")


def test_reports_are_no_calls(fresh: Callable[[], UsageStore]) -> None:
    """A provider's report, whose rows sum many requests, is refused as a whole, with the command that it is for."""
    bucket = {
        "object": "bucket",
        "start_time": 1,
        "end_time": 2,
        "results": [{"input_tokens": 5, "num_model_requests": 3}],
    }
    with pytest.raises(FormatError, match=r"sums over many requests, and no calls.*reconcile"):
        fresh().import_file(write("u.json", json.dumps({"object": "page", "data": [bucket]})))


def test_every_form_says_what_it_needs() -> None:
    """Each form with readable rows is found by its own columns, and no name of a result's column has two meanings."""
    for form in FORMS:
        assert form_of({next(iter(sorted(names))) for names in form.needs}).name in {form.name, "results"}
    columns = [column for known in RESULT_COLUMNS.values() for column in known]
    assert len(columns) == len(set(columns))


# Files that are wrong


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a picture"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"%PDF-1.4", "a PDF"),
        ("a,b\n1,2".encode("utf-16"), "UTF-16; save it as UTF-8"),
        (b"abc\0def", "NUL bytes"),
        (b"hello\nworld\n", "neither JSON nor CSV"),
        (b"PAR1 and no more", "no whole Parquet file"),
        (b"SQLite format 3\0garbage" * 9, "cannot be read"),
        (gzip.compress(b"input_tokens,output_tokens\n" + b"1,2\n" * 9, mtime=0)[:-9], "compressed, and broken"),
        (b"\x1f\x8bno gzip at all", "broken|could not be read"),
        (b'{"data": [{"a": 1}, ', "the file ends|ends early"),
        (b'[{"input_tokens": 1} {"input_tokens": 2}]', r"line 1: '\{' stands where ',' should"),
        (b"[" * 100_000, "nested too deeply|ends"),
        (b'[{"input_tokens": 1}] more', "something follows"),
        (b'[{"x": NaN}]', "NaN is no number"),
        (b"[1, 2]", "no known form: none"),
        (b'"text"\n', "neither JSON nor CSV"),
        (b"a,b,a\n1,2,3\n", "names the column 'a' twice"),
        (b"caf\xe9,input_tokens\n1,2\n", "line 1 is not UTF-8"),
        (b"a;b\n1;2\n", "no known form: a, b"),
    ],
)
def test_a_wrong_file_is_one_clear_error(fresh: Callable[[], UsageStore], data: bytes, said: str) -> None:
    """A file that holds nothing that is known is an error that says what it is, and nothing is stored."""
    store = fresh()
    with pytest.raises(FormatError, match=said) as error:
        store.import_file(write("file", data))
    assert "file" in str(error.value)
    assert store.breakdown().total.calls == 0


@pytest.mark.parametrize("path", ["nowhere.csv", ".", "a\0.csv"])
def test_a_missing_file_is_said(fresh: Callable[[], UsageStore], path: str) -> None:
    """No file, or a folder, is an error that says so."""
    with pytest.raises(FormatError, match="could not be read"):
        fresh().import_file(path)


def test_an_unknown_format_is_said(fresh: Callable[[], UsageStore]) -> None:
    """A format that does not exist is named with those that do, before the file is opened."""
    with pytest.raises(QueryError, match="unknown format 'xls'; expected auto, calls, openai-batch"):
        fresh().import_file("nowhere", format="xls")


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("\ufeffinput_tokens,output_tokens\n1,2\n", []),
        ("\ufeff" + '{"input_tokens": 1}\n', []),
        ("input_tokens;output_tokens\n1;2\n", []),
        ("input_tokens,output_tokens\r\n1,2\r\n\r\n", []),
        ("input_tokens,output_tokens\n1,2\n1,2,3\n", [(3, "has 3 cells, and the heading 2")]),
        ("input_tokens,output_tokens\nx,2\n1,2\n", [(2, "input_tokens is 'x'; expected a number")]),
        (
            'prompt,input_tokens\n"two\nlines",1\nx,-1\n',
            [(4, "input_tokens is '-1'; expected a whole number from 0 to 10,000,000,000")],
        ),
        ('{"input_tokens": 1}\n[1]\n', [(2, "is a list; expected an object")]),
        ('{"input_tokens": 1}\n{"input_tokens": Infinity}\n', [(2, "is no JSON: Infinity is no number of JSON")]),
    ],
)
def test_text_in_many_ways(fresh: Callable[[], UsageStore], text: str, refused: list[tuple[int, str]]) -> None:
    """A byte order mark, semicolons, other line ends and quoted lines are read; a wrong line is refused alone."""
    imported = fresh().import_file(write("file", text))
    assert imported.stored == 1
    assert [(one.row, one.reason) for one in imported.refused] == refused


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_bytes_that_are_no_utf8_refuse_their_row(fresh: Callable[[], UsageStore], name: str) -> None:
    """One row in another encoding is refused, and the reader stays in step."""
    path = write_rows(name, [{"document": text, "input_tokens": 1} for text in ("a", "XX", "c")])
    path.write_bytes(path.read_bytes().replace(b"XX", b"\xe9\xe9"))
    imported = fresh().import_file(path)
    assert (imported.stored, [one.reason for one in imported.refused]) == (2, ["is not UTF-8"])


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_an_endless_line_does_not_fill_the_memory(
    fresh: Callable[[], UsageStore], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A line beyond the limit is read over, refused, and the lines behind it are read."""
    monkeypatch.setattr(lines, "LONGEST_ENTRY", 1_000)
    monkeypatch.setattr(lines, "_TOO_LONG", "is too long")
    rows = [{"document": text, "input_tokens": 1} for text in ("a", "x" * 50_000, "c")]
    imported = fresh().import_file(write_rows(name, rows))
    assert (imported.stored, imported.refused_rows) == (2, 1)
    assert "too long" in imported.refused[0].reason


def test_an_endless_entry_of_a_document_is_an_error(
    fresh: Callable[[], UsageStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a document, where no line helps to go on, an entry beyond the limit is the end."""
    monkeypatch.setattr(documents, "LONGEST_ENTRY", 1_000)
    monkeypatch.setattr(documents, "_CHUNK", 100)
    with pytest.raises(FormatError, match="an entry of more than 1,000 characters"):
        fresh().import_file(write_rows("r.json", [{"document": "x" * 50_000, "input_tokens": 1}]))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_document_is_read_in_pieces(
    fresh: Callable[[], UsageStore], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Wherever a piece ends, in a number, a text or an escape, the entries are the same."""
    monkeypatch.setattr(documents, "_CHUNK", chunk)
    rows = [
        {"document": 'a "\\u00e9" {[', "input_tokens": 1_234, "time_taken_seconds": 1.25e1, "x": [{}]} for _ in range(1)
    ]
    store = fresh()
    assert store.import_file(write_rows("r.json", rows)).stored == 1
    assert (only(store).usage, only(store).duration_ms) == (TokenUsage(input_tokens=1_234), 12_500)


def test_a_broken_place_keeps_what_is_before_it(fresh: Callable[[], UsageStore]) -> None:
    """A file that ends early leaves whole batches stored, says how many, and a whole one goes on from there."""
    rows = [{"prompt": str(number), "input_tokens": 1} for number in range(1_500)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), 0)
    store = fresh()
    with pytest.raises(FormatError, match="1,000 calls before that place are stored"):
        store.import_file(write("r.jsonl.gz", whole[:-2_000]))
    assert store.breakdown().total.calls == 1_000
    imported = store.import_file(write("r.jsonl.gz", whole))
    assert (imported.stored, imported.there) == (500, 1_000)


def test_an_interrupted_import_goes_on(fresh: Callable[[], UsageStore]) -> None:
    """What an interruption leaves is whole batches; the same import again stores the rest, and nothing twice."""
    store, path = (
        fresh(),
        write_rows("r.jsonl", [{"prompt": str(number), "input_tokens": 1} for number in range(2_500)]),
    )
    told: list[int] = []

    def interrupt(position: int) -> None:
        told.append(position)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_file(path, progress=interrupt)
    assert (store.breakdown().total.calls, told == sorted(told)) == (2_000, True)
    assert store.import_file(path).stored == 500
    assert store.wrong_rollups() == []


def test_a_dry_run_says_what_would_come(store: UsageStore) -> None:
    """A dry run counts as the import will, duplicates across batches included, and stores nothing."""
    rows = [{"prompt": str(number % 1_200), "input_tokens": 1} for number in range(2_400)]
    path = write_rows("r.jsonl", rows)
    dry = store.import_file(path, dry_run=True)
    assert store.breakdown().total.calls == 0
    wet = store.import_file(path)
    assert replace(dry, is_dry_run=False) == wet
    assert (wet.stored, wet.there) == (1_200, 1_200)


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything_else(memory_store: UsageStore, tmp_path: Path, data: bytes) -> None:
    """Whatever a file holds, the outcome is an import or the one error for it."""
    for prefix in (b"", b"[", b'{"input_tokens": ', b"input_tokens,b\n", b"\x1f\x8b"):
        (tmp_path / "file").write_bytes(prefix + data)
        with suppress(FormatError):
            memory_store.import_file(tmp_path / "file")


def test_times_without_one_are_the_file_s(fresh: Callable[[], UsageStore]) -> None:
    """A row without a time gets that of the file, which its id does not depend on."""
    import os

    store, path = fresh(), write_rows("r.jsonl", [{"input_tokens": 1}])
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    assert store.import_file(path).undated == 1
    os.utime(path, (0, 0))
    assert store.import_file(path).there == 1
    assert only(store).started_at == NOON == datetime(2026, 11, 20, 12, tzinfo=UTC)
