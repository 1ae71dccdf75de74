"""What is the answer? Sums by dimension, the same in memory and in the store, with what they do not cover."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, asdict, fields
from decimal import Decimal
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_tokens.breakdown import Breakdown, BreakdownRow, UnknownRowError, aggregate, make_row
from langchain_tokens.call import Call
from langchain_tokens.errors import MissingExtraError, TokensError
from langchain_tokens.query import DIMENSIONS, EQUALITY_FILTERS, make_query
from langchain_tokens.sums import Sums
from tests.builders import MOMENTS, TAG_KEYS, make_call, make_usage, random_calls, screen_calls
from tests.made_usage import store_of

BY = [*DIMENSIONS, "hour", "day", "month", *(f"tag:{key}" for key in TAG_KEYS)]
FILTER_VALUES = [
    "alpha",
    "beta",
    "Gamma",
    "o'brien",
    "run-1",
    "run-2",
    "ok",
    "error",
    "cached",
    "(none)",
    "(unattributed)",
]
ONE_OR_SEVERAL = st.sampled_from(FILTER_VALUES) | st.lists(st.sampled_from(FILTER_VALUES), min_size=1, max_size=4)
SCREEN = """\
chain                  calls  failed   input  output   total   cost USD   share
sql_fix                    1       0     650      30     680   0.000057     33%
sql_generation             1       0     580      25     605   0.000051     29%
intent_classification      1       0     450       5     455   0.000034     22%
table_selection            1       0     320      12     332   0.000026     16%
total                      4       0   2,000      72   2,072   0.000168"""


def by(*dimensions: str, calls: list[Call]) -> Breakdown:
    """The answer in memory."""
    return aggregate(calls, make_query(dimensions))


@st.composite
def filters(draw: st.DrawFn) -> dict[str, Any]:
    """Some filters."""
    equals = draw(st.dictionaries(st.sampled_from(EQUALITY_FILTERS), ONE_OR_SEVERAL, max_size=2))
    tags = draw(st.dictionaries(st.sampled_from(TAG_KEYS), st.sampled_from(["a", "b", "1", "(none)", '"']), max_size=3))
    since, until = sorted((draw(MOMENTS), draw(MOMENTS)))
    return {
        **equals,
        **({"tags": tags} if tags else {}),
        **({"since": since} if draw(st.booleans()) else {}),
        **({"until": until} if draw(st.booleans()) and since < until else {}),
    }


@settings(max_examples=150, deadline=None)
@given(
    calls=random_calls(), dimensions=st.lists(st.sampled_from(BY), unique=True, max_size=3).map(tuple), chosen=filters()
)
def test_memory_and_store_give_the_same_answer(
    calls: list[Call], dimensions: tuple[str, ...], chosen: dict[str, Any]
) -> None:
    """For any calls, dimensions and filters, the sums in memory and the store's are equal, row by row."""
    with store_of(calls) as store:
        assert store.breakdown(*dimensions, **chosen) == aggregate(calls, make_query(dimensions, chosen))


def test_unknown_is_none_and_counted() -> None:
    """A sum over nothing known is None, and the calls that it does not cover are counted."""
    unknown = make_call(tokens=None)
    row = by("chain", calls=[unknown]).total
    assert (row.calls, row.calls_without_usage, row.unpriced_calls) == (1, 1, 1)
    assert (row.input_tokens, row.output_tokens, row.total_tokens, row.cost_usd, row.duration_ms) == (None,) * 5
    assert (row.cache_read_tokens, row.cache_write_tokens, row.reasoning_tokens) == (None,) * 3
    assert (row.tokens_per_second, row.share) == (None, None)


def test_known_zero_stays_zero() -> None:
    """A count that was said to be 0 is 0, not unknown."""
    row = by(calls=[make_call(tokens=(0, 0), cost="0")]).total
    assert (row.total_tokens, row.cost_usd, row.calls_without_usage, row.unpriced_calls) == (0, Decimal(0), 0, 0)


def test_sums_cover_the_calls_that_know() -> None:
    """Known counts add up beside unknown ones."""
    calls = [
        make_call(tokens=(100, 20), cost="0.1"),
        make_call(tokens=None),
        make_call(usage=make_usage(1, 2, cache_read_tokens=1, reasoning_tokens=2, cache_write_tokens=0), cost="0.2"),
        make_call(usage_source="estimated"),
    ]
    row = by(calls=calls).total
    assert (row.input_tokens, row.output_tokens, row.total_tokens) == (201, 42, 243)
    assert (row.cache_read_tokens, row.cache_write_tokens, row.reasoning_tokens) == (1, 0, 2)
    assert (row.cost_usd, row.unpriced_calls, row.calls_without_usage, row.estimated_calls) == (Decimal("0.3"), 2, 1, 1)


def test_a_call_that_lacks_one_count_is_said_to_be_uncovered() -> None:
    """A usage without an input count is in no total, so it is counted as not covered."""
    row = by(calls=[make_call(tokens=(None, 20)), make_call(tokens=(100, 20))]).total
    assert (row.total_tokens, row.calls_without_usage) == (120, 1)


@pytest.mark.parametrize(
    ("statuses", "expected", "failed", "cached"),
    [
        (["ok"], 1.0, 0, 0),
        (["ok", "error"], 0.5, 1, 0),
        (["cached", "ok"], 1.0, 0, 1),
        (["cancelled", "ok", "error", "error"], 0.25, 2, 0),
        ([], None, 0, 0),
    ],
)
def test_success_rate(statuses: list[Any], expected: float | None, failed: int, cached: int) -> None:
    """Answered calls for each call, by a model or a cache; nothing is said without calls."""
    row = by(calls=[make_call(status=status) for status in statuses]).total
    assert (row.success_rate, row.failed_calls, row.cached_calls) == (expected, failed, cached)


def test_tokens_per_second_covers_calls_that_know_both() -> None:
    """Output tokens for each second, over the calls whose output and time are known, cached ones left out."""
    calls = [
        make_call(tokens=(10, 30), duration_ms=1_000.0),
        make_call(tokens=(10, 60), duration_ms=2_000.0),
        make_call(tokens=(10, 99), duration_ms=None),
        make_call(tokens=(10, 99), duration_ms=0.0),
        make_call(tokens=None, duration_ms=5_000.0),
        make_call(tokens=(0, 0), duration_ms=5_000.0, status="cached"),
    ]
    row = by(calls=calls).total
    assert (row.tokens_per_second, row.duration_ms) == (30.0, 13_000.0)


def test_share_is_the_part_of_all_known_tokens() -> None:
    """A row's share is its part of the total; a row without known tokens has none."""
    rows = by("chain", calls=[make_call(chain="a", tokens=(75, 0)), make_call(chain="b", tokens=(25, 0))])
    assert [row.share for row in rows] == [0.75, 0.25]
    assert by("chain", calls=[make_call(chain="a", tokens=None), make_call(chain="b")])["a"].share is None
    assert by("chain", calls=[make_call(tokens=(0, 0))])[0].share is None


def test_rows_are_largest_first() -> None:
    """Rows stand by their tokens, then by their calls, then by name; those without known tokens stand last."""
    calls = [
        make_call(chain="none", tokens=None),
        make_call(chain="b", tokens=(5, 5)),
        make_call(chain="a", tokens=(5, 5)),
        make_call(chain="many", tokens=(5, 0)),
        make_call(chain="many", tokens=(5, 0)),
        make_call(chain="big", tokens=(99, 0)),
        make_call(chain="zero", tokens=(0, 0)),
    ]
    order = ["big", "many", "a", "b", "zero", "none"]
    assert [row.key["chain"] for row in by("chain", calls=calls)] == order


@pytest.mark.parametrize(
    ("wanted", "tokens"),
    [(("a", 1), 10), (("a", 2), 20), (("(unattributed)", 1), 30), (("(none)", 1), 30), ((None, 1), 30)],
)
def test_row_of_several_dimensions_is_looked_up_by_tuple(wanted: tuple[Any, ...], tokens: int) -> None:
    """A tuple names a row by several dimensions; None, and what is shown for it, name a missing one."""
    calls = [
        make_call(chain="a", attempt=1, tokens=(10, 0)),
        make_call(chain="a", attempt=2, tokens=(20, 0)),
        make_call(chain=None, attempt=1, tokens=(30, 0)),
    ]
    rows = by("chain", "attempt", calls=calls)
    assert rows[wanted].total_tokens == tokens


def test_row_is_looked_up_by_name_position_and_slice() -> None:
    """A text names a row, a number and a slice take rows by position."""
    rows = by("chain", calls=[*screen_calls(), make_call(chain=None, tokens=(1, 0))])
    assert rows["sql_fix"] is rows[0]
    assert rows["(unattributed)"] is rows["(none)"] is rows[None] is rows[-1]
    assert [row.key["chain"] for row in rows[1:3]] == ["sql_generation", "intent_classification"]
    assert rows[("sql_fix",)] is rows["sql_fix"]
    there: tuple[object, ...] = ("sql_fix", None, rows[0])
    not_there: tuple[object, ...] = ("nothing", ("sql_fix", None), 0)
    assert all(item in rows for item in there)
    assert not any(item in rows for item in not_there)


@pytest.mark.parametrize(
    ("dimension", "label"), [("chain", "(unattributed)"), ("agent", "(none)"), ("tag:a", "(none)")]
)
def test_missing_name_is_shown_and_looked_up_by_its_label(dimension: str, label: object) -> None:
    """Calls without a chain are shown as `(unattributed)`, without another name as `(none)`; data has null for both."""
    rows = by(dimension, calls=[make_call()])
    assert label in rows
    assert str(rows).splitlines()[1].split()[0] == label
    assert f">{label}</td>" in rows._repr_html_()
    assert (rows.to_records()[0][dimension], json.loads(rows.to_json())["rows"][0][dimension]) == (None, None)
    assert rows.to_csv().splitlines()[1].startswith(",1,")


def test_name_that_looks_like_a_label_is_a_name() -> None:
    """A chain that really has a label's name has a row of its own, which its name finds."""
    rows = by("chain", calls=[make_call(chain="(unattributed)", tokens=(1, 0)), make_call(chain=None, tokens=(2, 0))])
    assert (rows["(unattributed)"].total_tokens, rows[None].total_tokens) == (1, 2)


def test_missing_row_error_names_the_labels() -> None:
    """The error for a row that is not there names calls without a chain as they are shown."""
    with pytest.raises(UnknownRowError, match=r"rows: '\(unattributed\)'$"):
        by("chain", calls=[make_call()])["x"]
    with pytest.raises(UnknownRowError, match=r"rows: \('\(none\)', '\(unattributed\)'\)$"):
        by("agent", "chain", calls=[make_call()])["x"]


@pytest.mark.parametrize("missing", ["sql_fxi", ("sql_fix", "x"), None, "(none)", "(unattributed)", True, [], 1.5])
def test_missing_row_error_names_the_rows_there_are(missing: Any) -> None:
    """A row that is not there is a `KeyError` of ours, which says what is there."""
    with pytest.raises(UnknownRowError) as caught:
        by("chain", calls=screen_calls())[missing]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, TokensError)
    assert str(caught.value) == (
        f"no row {missing!r} in this breakdown by chain; rows: 'sql_fix', 'sql_generation', 'intent_classification', "
        "'table_selection'"
    )


def test_position_that_is_not_there_is_an_index_error() -> None:
    """A position beyond the rows is what it is in any sequence."""
    with pytest.raises(IndexError):
        by("chain", calls=screen_calls())[4]


def test_answer_is_immutable() -> None:
    """Rows cannot be changed, replaced or hashed by accident."""
    rows = by("chain", calls=screen_calls())
    with pytest.raises(FrozenInstanceError):
        rows[0].calls = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        rows[0] = rows[1]  # type: ignore[index]
    with pytest.raises(TypeError):
        hash(rows)


@pytest.mark.parametrize("name", ["by", "total", "_rows", "other"])
def test_answer_takes_no_attribute(name: str) -> None:
    """No attribute of an answer can be set or deleted, and none be added."""
    rows = by("chain", calls=screen_calls())
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(rows, name, ())
    with pytest.raises(FrozenInstanceError, match=name):
        delattr(rows, name)
    assert rows == by("chain", calls=screen_calls())


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.__setitem__("chain", "x"),
        lambda key: key.__delitem__("chain"),
        lambda key: key.update(chain="x"),
        lambda key: key.pop("chain"),
        lambda key: key.popitem(),
        lambda key: key.clear(),
        lambda key: key.setdefault("x", "y"),
        lambda key: key.__ior__({"chain": "x"}),
    ],
)
def test_key_of_a_row_is_immutable(change: Callable[[Any], Any]) -> None:
    """A row's key is a dict that cannot be changed, and still a dict for JSON."""
    key = by("chain", calls=[make_call(chain="a")])[0].key
    with pytest.raises(TypeError, match="key"):
        change(key)
    assert (key, json.dumps(key)) == ({"chain": "a"}, '{"chain": "a"}')


def pickled(rows: Breakdown) -> Breakdown:
    """An answer as another process gets it."""
    sent: Breakdown = pickle.loads(pickle.dumps(rows))  # noqa: S301  # made here
    return sent


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_answer_can_be_copied_and_sent(copied: Callable[[Breakdown], Breakdown]) -> None:
    """An answer can be copied and pickled, as for another process, and is equal then."""
    rows = by("chain", "agent", calls=screen_calls())
    assert copied(rows) == rows
    assert asdict(copied(rows)[0]) == asdict(rows[0])


def test_answers_are_equal_by_value() -> None:
    """Two answers with the same rows are equal, and nothing else is."""
    calls = screen_calls()
    assert by("chain", calls=calls) == by("chain", calls=list(reversed(calls)))
    assert by("chain", calls=calls) != by("agent", calls=calls)
    assert by("chain", calls=calls) != "chain"


def test_text_is_the_table_of_the_product_page() -> None:
    """The printed answer is, to the letter, the table that the project shows first."""
    assert str(by("chain", calls=screen_calls())) == SCREEN


def test_text_has_the_rows_and_the_total() -> None:
    """The printed answer has a line for the headings, each row and the total, cell by cell as shown first."""
    for line, expected in zip(str(by("chain", calls=screen_calls())).splitlines(), SCREEN.splitlines(), strict=True):
        cells = line.split()
        assert cells[: len(expected.split())] == expected.split()


def test_text_is_aligned() -> None:
    """Names stand to the left and numbers to the right, with no space at a line's end."""
    rows = by("chain", "model", calls=[*screen_calls(), make_call(chain="a", model="gpt-5")])
    heading, *lines = str(rows).splitlines()[:6]
    assert all(line[heading.index("model") :].startswith(("(none)", "gpt-5")) for line in lines)
    assert all(line[heading.index("calls") + 4] == "1" for line in lines)
    assert all(line[heading.index("input") + 5 :][:1] == " " for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_text_says_what_is_not_covered() -> None:
    """Unknown numbers are shown as a dash, and notes below say how many calls the sums do not cover."""
    calls = [make_call(chain="a"), make_call(chain=None, tokens=None), make_call(chain="a", usage_source="estimated")]
    lines = str(by("chain", calls=calls)).splitlines()
    assert lines[1].split() == ["a", "2", "0", "200", "40", "240", "\u2013", "100%"]
    assert lines[2].split() == ["(unattributed)", "1", "0", "\u2013", "\u2013", "\u2013", "\u2013", "\u2013"]
    assert lines[3].split()[:7] == ["total", "3", "0", "200", "40", "240", "\u2013"]
    assert lines[4:] == [
        "1 of 3 calls without complete usage: tokens missing in these sums",
        "3 of 3 calls without a price: cost not in these sums",
        "1 of 3 calls with estimated tokens",
    ]


def test_table_says_what_a_limit_left_out() -> None:
    """Rows that a limit cut add up to less than the total, so text and HTML say how many calls are in the others."""
    with store_of(screen_calls()) as store:
        found, whole = store.breakdown("chain", limit=1), (store.breakdown("chain", limit=4), store.breakdown())
    said = "3 of 4 calls are in rows beyond the limit"
    assert str(found).splitlines()[3:] == [said]
    assert f">{said}</p>" in found._repr_html_()
    assert "beyond the limit" not in f"{whole[0]}{whole[1]}"


@pytest.mark.parametrize(("dimensions", "rows"), [((), 1), (("chain",), 0), (("chain", "model"), 0)])
def test_text_of_nothing(dimensions: tuple[str, ...], rows: int) -> None:
    """An answer without calls is a table all the same."""
    answer = by(*dimensions, calls=[])
    lines = str(answer).splitlines()
    assert len(answer) == rows
    assert lines[0].split() == [*dimensions, *SCREEN.splitlines()[0].split()[1:]]
    assert lines[1].split()[:6] == ["total", "0", "0", "\u2013", "\u2013", "\u2013"]


def test_repr_is_short() -> None:
    """The representation says what the answer is about, not all of it."""
    assert repr(by("chain", calls=screen_calls())) == "<Breakdown by chain: 4 rows, 4 calls>"
    assert repr(by(calls=[])) == "<Breakdown by nothing: 1 rows, 0 calls>"


def test_html_escapes_names() -> None:
    """A name cannot bring markup into a notebook."""
    html = by("chain", calls=[make_call(chain="<script>alert(1)</script>")])._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert html.startswith('<div class="lt-usage"><table class="lt-breakdown"')
    assert ">1 of 1 calls without a price" in html


def test_records_are_flat() -> None:
    """A record is the key's dimensions, then each number, with money as `Decimal`."""
    (record,) = by("chain", "agent", calls=[make_call(chain="a", cost="0.1")]).to_records()
    assert list(record)[:4] == ["chain", "agent", "calls", "failed_calls"]
    assert (record["chain"], record["agent"], record["cost_usd"], record["cache_read_tokens"]) == (
        "a",
        None,
        Decimal("0.1"),
        None,
    )


def test_json_keeps_money_exact_and_unknown_null() -> None:
    """The JSON document has the rows and the total; money is text, unknown is null."""
    document = json.loads(by("chain", calls=[make_call(chain="\u732b", cost="1e-12", tokens=None)]).to_json())
    assert document["by"] == ["chain"]
    assert document["rows"][0] == {"chain": "\u732b", **document["total"]}
    assert (document["total"]["cost_usd"], document["total"]["total_tokens"]) == ("0.000000000001", None)


def test_csv_has_a_line_for_each_row() -> None:
    """CSV has a heading line and a line a row; unknown is an empty cell."""
    text = by("chain", calls=[make_call(chain='a, "b"', tokens=None, cost="0.000000000001")]).to_csv()
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["chain"], row["calls"], row["input_tokens"]) == ('a, "b"', "1", "")
    assert Decimal(row["cost_usd"]) == Decimal("1e-12")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_csv_neutralises_formulas(start: str) -> None:
    """A name that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = by("chain", calls=[make_call(chain=f"{start}cmd()")]).to_csv()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["chain"] == f"'{start}cmd()"


def test_pandas_has_a_row_for_each_row() -> None:
    """A DataFrame has the records' columns, also where there is no row."""
    frame = by("chain", calls=screen_calls()).to_pandas()
    assert list(frame["chain"]) == ["sql_fix", "sql_generation", "intent_classification", "table_selection"]
    assert int(frame["total_tokens"].sum()) == 2_072
    empty = by("chain", calls=[]).to_pandas()
    assert (list(empty.columns), len(empty)) == (list(frame.columns), 0)
    assert isinstance(frame, pandas.DataFrame)


def test_arrow_has_the_same_types_whatever_is_known() -> None:
    """Names are text, an attempt and counts whole numbers, money an exact decimal; also where all is unknown or empty."""
    full = by("chain", "attempt", calls=screen_calls()).to_arrow()
    assert full.to_pylist() == by("chain", "attempt", calls=screen_calls()).to_records()
    silent = by("chain", "attempt", calls=[make_call(tokens=None)]).to_arrow()
    assert silent.to_pylist()[0]["total_tokens"] is silent.to_pylist()[0]["cost_usd"] is None
    assert full.schema == silent.schema == by("chain", "attempt", calls=[]).to_arrow().schema
    kinds = {name: str(full.schema.field(name).type) for name in ("chain", "attempt", "calls", "cost_usd", "share")}
    assert kinds == {
        "chain": "string",
        "attempt": "int64",
        "calls": "int64",
        "cost_usd": "decimal128(38, 12)",
        "share": "double",
    }


def test_polars_has_a_row_for_each_row() -> None:
    """A DataFrame of polars has the same records and exact money."""
    pytest.importorskip("polars")
    found = by("chain", calls=screen_calls())
    frame = found.to_polars()
    assert frame.rows(named=True) == found.to_records()
    assert frame["cost_usd"].sum() == found.total.cost_usd


@pytest.mark.parametrize(("method", "library"), [("to_arrow", "pyarrow"), ("to_polars", "polars")])
def test_missing_libraries_of_tables_name_the_extra(monkeypatch: pytest.MonkeyPatch, method: str, library: str) -> None:
    """Without the library the error says how to get it."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{method}\(\) needs {library}: .*langchain_tokens\[export\]"):
        getattr(by("chain", calls=screen_calls()), method)()


def test_pandas_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas the error says which extra brings it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"langchain_tokens\[export\]"):
        by("chain", calls=screen_calls()).to_pandas()


@given(calls=random_calls(), dimensions=st.lists(st.sampled_from(BY), unique=True, max_size=2).map(tuple))
@settings(max_examples=40, deadline=None)
def test_rows_add_up_to_the_total(calls: list[Call], dimensions: tuple[str, ...]) -> None:
    """However calls are grouped, the rows' known numbers add up to the total's, and no call is lost."""
    rows = aggregate(calls, make_query(dimensions))
    for name in ("calls", "failed_calls", "unpriced_calls", "calls_without_usage", "total_tokens", "cost_usd"):
        known = [getattr(row, name) for row in rows if getattr(row, name) is not None]
        assert (sum(known) if known else None) == (getattr(rows.total, name) if rows else None)
    assert rows.total.calls == len(calls)


def test_key_is_a_mapping_in_the_order_of_the_dimensions() -> None:
    """A row's key has the dimensions in the order they were asked for."""
    key: Mapping[str, Any] = by("model", "chain", calls=[make_call(chain="c", model="m")])[0].key
    assert list(key.items()) == [("model", "m"), ("chain", "c")]


def test_a_row_is_made_in_the_order_of_its_fields() -> None:
    """Rows are filled by position, which takes half the time: each sum stands where it belongs."""
    numbers: dict[str, Any] = {item.name: number for number, item in enumerate(fields(Sums), start=1)}
    sums = Sums(**numbers)
    row = make_row({}, sums, sums)
    same = {item.name for item in fields(Sums)} & {item.name for item in fields(BreakdownRow)}
    assert len(same) == 15
    assert {name: getattr(row, name) for name in same} == {name: getattr(sums, name) for name in same}
    assert (row.duration_ms, row.success_rate, row.share) == (numbers["duration_us"] / 1_000, 3.0, 1.0)
    assert row.tokens_per_second == pytest.approx(numbers["timed_output_tokens"] / numbers["timed_us"] * 1_000_000)
