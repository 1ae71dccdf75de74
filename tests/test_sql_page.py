"""Is the page on SQL true? Its queries run on both databases with one answer, and its tables have the code's columns."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column

import langchain_tokens
from langchain_tokens import UsageStore
from langchain_tokens.store.rolluptables import COUNTS, LAST_DAY, ROLLUPS, SUMMED
from langchain_tokens.store.tables import METADATA
from langchain_tokens.store.target import parse_target
from tests.seeded import add_seeded

pytest_plugins = ("tests.databases",)

PAGE = (Path(langchain_tokens.__file__).parents[1] / "docs" / "sql.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```sql\n(-- (.*?)\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
KINDS = {
    "UtcDateTime": "timestamp",
    "Text": "text",
    "BigInteger": "bigint",
    "Integer": "integer",
    "Float": "double",
    "Boolean": "boolean",
    "JSON": "json",
}
"""Type in the code → word on the page."""
_ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
_BEGINS = {"llm_call": "## llm_call\n", "llm_run": "## llm_run\n", "cost_revision": "## cost_revision\n"}
_BEGINS["llm_call_content"] = "## llm_call_content\n"
_BEGINS |= {
    name: f"`{name}` holds"
    for name in ("budget_reservation", "budget_told", "usage_settled", "usage_waste", "usage_local", "usage_state")
}
Ask = Callable[[str], Sequence[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def databases(postgresql_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, Ask]]:
    """The same calls in SQLite and in PostgreSQL, to be asked as a person would."""
    file = tmp_path_factory.mktemp("sql") / "calls.db"
    with psycopg.connect(postgresql_server.get_uri(), autocommit=True) as maker:
        maker.execute("CREATE DATABASE sql_page")
        url = postgresql_server.get_uri(database="sql_page")
        for place in (file, url):
            store = UsageStore(parse_target(place))
            add_seeded(store)
            store.close()
        with closing(sqlite3.connect(file)) as lite, psycopg.connect(url, options="-ctimezone=UTC") as server:
            yield (lambda query: lite.execute(query).fetchall()), (lambda query: server.execute(query).fetchall())
        maker.execute("DROP DATABASE sql_page WITH (FORCE)")


def told(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Rows as one would read them, in an order that does not depend on where a database puts what is not known."""
    return sorted(
        repr([round(float(cell), 6) if isinstance(cell, int | float | Decimal) else cell for cell in row])
        for row in rows
    )


def columns_of(table: str) -> dict[str, str]:
    """The columns that the page says a table has, with their types."""
    text = PAGE.split(_BEGINS[table])[1].split("\n## ")[0]
    lines = text[text.index("| column |") :].split("\n\n")[0]
    return {name: kind for name, kind, _ in _ROW.findall(lines)}


def kind_of(column: Column[Any]) -> str:
    """How the page says a column's type."""
    kind = KINDS["Text" if type(column.type).__name__ == "AutoString" else type(column.type).__name__]
    return f"{kind}, key" if column.primary_key else kind if column.nullable else f"{kind}, not null"


def test_page_has_its_queries() -> None:
    """There are a dozen queries, each with the question that it answers."""
    assert len(QUERIES) == PAGE.count("```sql") >= 10


@pytest.mark.parametrize("query", [text for text, _ in QUERIES], ids=[about for _, about in QUERIES])
def test_query_has_one_answer(query: str, databases: tuple[Ask, Ask]) -> None:
    """A query answers something, and the same on both databases."""
    lite, server = (ask(query) for ask in databases)
    assert told(lite) == told(server) != []


@pytest.mark.parametrize("table", _BEGINS)
def test_table_has_the_columns_of_the_code(table: str) -> None:
    """The page names each column of a table, in order, with its type, and no other."""
    assert columns_of(table) == {column.name: kind_of(column) for column in METADATA.tables[table].columns}
    assert list(columns_of(table)) == [column.name for column in METADATA.tables[table].columns]


def test_page_has_all_tables() -> None:
    """Every table stands on the page: with its columns, or among the sums with what a row of it is for."""
    sums = dict(re.findall(r"^\| `(usage_\w+)` \| (`.+`) \|$", PAGE, re.MULTILINE))
    assert sums == {one.table.name: ", ".join(f"`{key}`" for key in one.keys) for one in ROLLUPS}
    assert {*_BEGINS, *sums} == set(METADATA.tables)
    text = " ".join(PAGE.split("## Sums")[1].split("\n## ")[0].split())
    assert ", ".join(f"`{name}`" for name in COUNTS) in text
    assert ", ".join(f"`{name}`" for name in SUMMED) in text
    assert [f"`{one.table.name}` has `{LAST_DAY}`" in text for one in ROLLUPS] == [one.has_last_day for one in ROLLUPS]


@pytest.mark.parametrize("view", ["llm_call_usd", "session_token_summary", "daily_token_stats"])
def test_view_has_the_columns_of_the_page(view: str, databases: tuple[Ask, Ask]) -> None:
    """What the page says a view has can be asked for; of the first, what it does not take from the calls."""
    said = re.search(rf"^\| `{view}` \| .+? \| (.+) \|$", PAGE, re.MULTILINE)
    names = [name for name in re.findall(r"`(\w+)`", said[1]) if name != "llm_call"] if said else []
    has = [name for _, name, *_ in databases[0](f"PRAGMA table_info({view})")]
    assert names == (has if view != "llm_call_usd" else [name for name in has if name.endswith("_usd")])
    assert databases[1](f"SELECT {', '.join(has)} FROM {view}")
