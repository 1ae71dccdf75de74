"""The SQL agent example: it works as a program, and its tokens are named and counted right."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from examples.scripted import Ledger, count_text, is_exact
from examples.sql_agent.database import create_shop
from examples.sql_agent.graph import MAX_FIXES, Question, ask, build_graph
from examples.sql_agent.main import main
from examples.sql_agent.scripted_model import scripted_model
from examples.sql_agent.sql_repair import repair
from langchain_tokens import TokenUsageHandler
from tests.printed import ROOT, expect_shown

REAL_ERROR = "no such column: c.city"
CUSTOMERS_IN_MUMBAI = """SELECT name, email FROM customers
    WHERE city_id = (SELECT id FROM cities WHERE name = 'Mumbai') ORDER BY name"""
PRODUCTS_BY_REVENUE = """SELECT name, (SELECT SUM(quantity * unit_price) FROM order_items WHERE product_id = products.id) AS revenue
    FROM products ORDER BY revenue DESC, name LIMIT 5"""
CUSTOMERS_BY_YEAR = "SELECT strftime('%Y', joined_on), COUNT(id) FROM customers GROUP BY 1 ORDER BY 1"
SQL_CHAINS = ("table_selection", "sql_generation", "sql_fix")
EXACT = pytest.mark.skipif(
    not is_exact(), reason="tiktoken's table, by which the README counts, is not on this machine"
)
CHAINS = {"intent_classification": "orchestrator", **dict.fromkeys(SQL_CHAINS, "sql_agent")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run of the program left behind."""

    code: int
    out: str
    err: str
    directory: Path

    def read(self, database: str, query: str) -> list[dict[str, Any]]:
        """Return the rows that a query finds in one of the run's databases."""
        with closing(sqlite3.connect(self.directory / database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]


def run_program(directory: Path, *options: str) -> Outcome:
    """Run the program as a user does, without a provider's key, with the shop kept for a look."""
    environment = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    finished = subprocess.run(
        [sys.executable, "-m", "examples.sql_agent", "--shop", str(directory / "shop.db"), *options],
        cwd=directory,
        env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(code=finished.returncode, out=finished.stdout, err=finished.stderr, directory=directory)


def printed_rows(out: str, title: str) -> dict[str, tuple[int, ...]]:
    """Return the printed table below a title: first column to calls, failed, input, output and total."""
    table = out.split(title, 1)[1].strip().split("\n\n")[0]
    lines = [line.replace(",", "").split() for line in table.splitlines()[1:]]
    return {line[0]: tuple(int(cell) for cell in line[1:6]) for line in lines if line and line[1].isdigit()}


def stored_rows(outcome: Outcome, column: str) -> dict[str, tuple[int, ...]]:
    """Return the store's own sums for each value of a column and in total, in the order of the printed table."""
    sums = "COUNT(*), SUM(status = 'error'), SUM(input_tokens), SUM(output_tokens), SUM(total_tokens)"
    queries = [f"SELECT {key} AS name, {sums} FROM llm_call GROUP BY 1" for key in (column, "'total'")]
    rows = [row for query in queries for row in outcome.read("langchain_tokens.db", query)]
    return {row.pop("name"): tuple(row.values()) for row in rows}


def run_here(directory: Path, *options: str) -> Outcome:
    """Run the program in this process, which starts sooner."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(directory), pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--shop", str(directory / "shop.db"), *options])
    return Outcome(code=code, out=out.getvalue(), err=err.getvalue(), directory=directory)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of the program with text output and nothing but defaults."""
    return run_program(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def json_run(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run of the program with JSON output."""
    return run_here(tmp_path_factory.mktemp("json"), "--json")


def test_program_says_that_it_is_offline(text_run: Outcome) -> None:
    """Without --model the program answers offline and says so in one line on stderr."""
    assert text_run.code == 0, text_run.err
    assert ["scripted answers in place of gpt-4o-mini" in line for line in text_run.err.splitlines()] == [True]


def test_program_shows_the_error_and_the_repaired_query(text_run: Outcome) -> None:
    """The first query fails in the real database, the error is printed below it, and the second query is another one."""
    first, error, second = re.findall(r"^(?:SQL \d: |  error: )(.*)$", text_run.out, re.MULTILINE)
    with pytest.raises(sqlite3.OperationalError, match=re.escape(error)):
        text_run.read("shop.db", first)

    assert error == REAL_ERROR
    assert text_run.read("shop.db", CUSTOMERS_IN_MUMBAI) == text_run.read("shop.db", second)


def test_program_prints_the_right_rows(text_run: Outcome) -> None:
    """The printed answer is what an independent query finds."""
    expected = [f"{row['name']}  {row['email']}" for row in text_run.read("shop.db", CUSTOMERS_IN_MUMBAI)]
    answer = text_run.out.split("Answer: ")[1].split("\n\n")[0].splitlines()

    assert len(expected) > 1
    assert f"{len(expected)} rows" == answer[0]
    assert expected == [re.sub(r"  +", "  ", line) for line in answer[2:]]


@pytest.mark.parametrize(
    ("title", "column", "names"),
    [
        ("Tokens by chain", "chain_name", {*CHAINS, "total"}),
        ("Tokens by agent", "agent_name", {*CHAINS.values(), "total"}),
    ],
)
def test_printed_tokens_are_the_stored_tokens(text_run: Outcome, title: str, column: str, names: set[str]) -> None:
    """Each printed row, the total too, equals the sums over the rows in the store."""
    printed = printed_rows(text_run.out, title)

    assert names == set(printed)
    assert stored_rows(text_run, column) == printed


def test_store_names_chain_agent_and_attempt(text_run: Outcome) -> None:
    """The store has one row for each call, with chain and agent; each chain needed one attempt."""
    rows = text_run.read(
        "langchain_tokens.db", "SELECT chain_name, agent_name, attempt, model_name, price_status FROM llm_call"
    )
    expected = [
        {"chain_name": c, "agent_name": a, "attempt": 1, "model_name": "gpt-4o-mini", "price_status": "priced"}
        for c, a in CHAINS.items()
    ]

    assert expected == sorted(rows, key=lambda row: list(CHAINS).index(row["chain_name"]))


@EXACT
def test_readme_shows_the_real_output(text_run: Outcome) -> None:
    """The output in the example's README is what the program prints, but for prices, which may change."""
    expect_shown(ROOT / "examples/sql_agent/README.md", "## What it prints", text_run.out)


@EXACT
def test_first_table_of_the_readme_is_the_demos(text_run: Outcome) -> None:
    """The table that the project's README begins with is what `make demo` prints, but for prices."""
    table = text_run.out.split("Tokens by chain\n")[1].split("\n\n")[0]
    expect_shown(ROOT / "README.md", 'print(handler.breakdown("chain"))\n```', table)


@EXACT
def test_readme_shows_the_real_document(json_run: Outcome) -> None:
    """The JSON in the example's README is what `--json` prints."""
    expect_shown(ROOT / "examples/sql_agent/README.md", "With `--json`:", json_run.out, json.loads)


def test_tokens_are_those_of_the_models_own_books(tmp_path: Path) -> None:
    """What the handler counts for each chain is what the model itself wrote down, which counted the real messages."""
    ledger = Ledger()
    with TokenUsageHandler(tmp_path / "tokens.db") as handler:
        graph = build_graph(scripted_model(ledger), create_shop(tmp_path / "shop.db"))
        ask(graph, "Which customers in Pune have cancelled orders?", config={"callbacks": [handler]})
        rows = handler.breakdown("chain")
    found = {row.key["chain"]: (row.calls, row.failed_calls, row.input_tokens, row.output_tokens) for row in rows}

    assert found["sql_fix"][0] == 2
    assert ledger.totals() == found


def test_json_is_one_document(json_run: Outcome) -> None:
    """With --json stdout is one document with question, query, rows and usage."""
    document = json.loads(json_run.out)

    assert json_run.code == 0, json_run.err
    assert list(document) == ["question", "sql", "rows", "llm_token_usage"]
    assert json_run.read("shop.db", CUSTOMERS_IN_MUMBAI) == document["rows"]
    assert document["rows"] == json_run.read("shop.db", document["sql"])


def test_json_has_the_usage_of_each_chain_and_fix(json_run: Outcome) -> None:
    """The usage in the JSON has each chain's tokens as stored, and each fix with its attempt, real error and tokens."""
    stored = stored_rows(json_run, "chain_name")
    kinds = ("prompt_tokens", "completion_tokens", "total_tokens")
    tokens = {name: dict(zip(kinds, stored[name][2:], strict=True)) for name in CHAINS}
    expected = {
        **{name: tokens[name] for name in CHAINS if name != "sql_fix"},
        "sql_fix_retries": [{"attempt": 1, "error": REAL_ERROR, "tokens": tokens["sql_fix"]}],
        "total_tokens_used": stored["total"][4],
    }

    assert expected == json.loads(json_run.out)["llm_token_usage"]


@pytest.mark.parametrize(
    ("question", "code", "errors"),
    [
        ("Which customers in Pune have cancelled orders?", 0, ["no such column: city", "ambiguous column name: name"]),
        ("Which customers are left-handed?", 1, ["no such column: handedness"] * MAX_FIXES),
    ],
)
def test_fixes_are_numbered_with_their_own_error(tmp_path: Path, question: str, code: int, errors: list[str]) -> None:
    """Each fix is listed with its attempt and error; where the last one fails too there are no rows and exit code 1."""
    outcome = run_here(tmp_path, "--json", "--question", question)
    document = json.loads(outcome.out)
    retries = document["llm_token_usage"]["sql_fix_retries"]

    assert (code, code == 1) == (outcome.code, document["rows"] is None)
    assert list(enumerate(errors, start=1)) == [(retry["attempt"], retry["error"]) for retry in retries]


def test_store_may_be_elsewhere(tmp_path: Path) -> None:
    """With --db the tokens go to that file and to no other; an answer in words has no SQL and no rows."""
    outcome = run_here(tmp_path, "--json", "--db", str(tmp_path / "mine.db"), "--question", "Hello, who are you?")
    document = json.loads(outcome.out)
    rows = outcome.read("mine.db", "SELECT DISTINCT chain_name, agent_name FROM llm_call ORDER BY 1 DESC")

    assert (outcome.code, document["sql"], document["rows"]) == (0, None, None)
    assert "I can look things up" in document["answer"]
    assert [tuple(row.values()) for row in rows] == [
        ("intent_classification", "orchestrator"),
        ("direct_answer", "orchestrator"),
    ]
    assert not (tmp_path / "langchain_tokens.db").exists()


@pytest.mark.parametrize("model", ["nonsense", "openai:gpt-5-mini", "no_such_provider:model"])
def test_model_that_cannot_be_used(tmp_path: Path, model: str) -> None:
    """An unknown model, a missing package or a missing key is one line on stderr and exit code 2."""
    outcome = run_here(tmp_path, "--model", model)

    assert (outcome.code, outcome.out) == (2, "")
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith(f"sql_agent: model {model}: ")


def test_provider_that_does_not_answer(tmp_path: Path) -> None:
    """A call that fails is one line on stderr and exit code 2; the store has it, with those before it."""
    outcome = run_here(tmp_path, "--question", "Customers in Atlantis?")
    rows = outcome.read("langchain_tokens.db", "SELECT chain_name, status FROM llm_call ORDER BY started_at")

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[1:] == ["sql_agent: model gpt-4o-mini: the provider did not answer in time"]
    assert [tuple(row.values()) for row in rows] == [
        ("intent_classification", "ok"),
        ("table_selection", "ok"),
        ("sql_generation", "error"),
    ]


@pytest.mark.parametrize("name", ["shop.db", "langchain_tokens.db"])
def test_file_that_is_no_database(tmp_path: Path, name: str) -> None:
    """A --shop or --db that is no SQLite file is one line on stderr and exit code 2, and the file stays as it was."""
    (tmp_path / name).write_text("just some text\n" * 20)
    outcome = run_here(tmp_path)

    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(r"^sql_agent: .*not an? .*database", outcome.err.splitlines()[1])
    assert (tmp_path / name).read_text() == "just some text\n" * 20


@pytest.mark.parametrize(
    ("question", "error", "check"),
    [
        ("customers in delhi", REAL_ERROR, CUSTOMERS_IN_MUMBAI.replace("Mumbai", "Delhi")),
        ("Which products earned the most?", "no such column: i.price", PRODUCTS_BY_REVENUE),
        ("How many customers joined in each year?", "no such table: customer", CUSTOMERS_BY_YEAR),
    ],
)
def test_answers_are_right(tmp_path: Path, question: str, error: str, check: str) -> None:
    """Each sample question fails first by the database's error and then gives what an independent query gives."""
    state = ask(build_graph(scripted_model(), create_shop(tmp_path / "shop.db")), question)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        expected = connection.execute(check).fetchall() or None

    assert [error, None] == [tried["error"] for tried in state["tried"]]
    assert expected == [tuple(row.values()) for row in state["rows"] or []]


def test_async_gives_the_same_answer(tmp_path: Path) -> None:
    """The graph gives the same rows with ainvoke as with invoke."""
    graph = build_graph(scripted_model(), create_shop(tmp_path / "shop.db"))
    expected = ask(graph, "Customers in Mumbai?")

    assert expected == asyncio.run(graph.ainvoke(Question(question="Customers in Mumbai?", variant="plain")))


def test_model_counts_what_it_was_sent() -> None:
    """The scripted model counts the texts of its messages and what surrounds them, the same whether it streams or not."""
    messages = [SystemMessage("You classify the intent of a question."), HumanMessage("Question: Customers in Mumbai?")]
    given = sum(count_text(str(message.text)) for message in messages) + 3 + 4 * len(messages)
    expected = {"input_tokens": given, "output_tokens": 1, "total_tokens": given + 1}
    ledger = Ledger()
    chunks = [chunk.usage_metadata for chunk in scripted_model(ledger).stream(messages) if chunk.usage_metadata]

    assert expected == scripted_model().invoke(messages).usage_metadata
    assert [expected] == chunks
    assert ledger.totals() == {"intent_classification": (1, 0, given, 1)}


@pytest.mark.parametrize(
    "query", ["DELETE FROM customers", "SELECT 1; SELECT 2", "ATTACH 'other.db' AS other", "PRAGMA query_only = 0"]
)
def test_shop_is_only_read(tmp_path: Path, query: str) -> None:
    """Whatever is not one reading statement is refused by the database."""
    shop = create_shop(tmp_path / "shop.db")
    before = shop.path.read_bytes()
    with pytest.raises(sqlite3.Error):
        shop.execute(query)

    assert before == shop.path.read_bytes()


def test_shop_is_the_same_every_time(tmp_path: Path) -> None:
    """Two sample shops have the same rows, and describe gives the statements that the database keeps."""
    shops = [create_shop(tmp_path / name) for name in ("one.db", "two.db")]
    names = shops[0].table_names()

    assert shops[0].path.read_bytes() == shops[1].path.read_bytes()
    assert names == ["cities", "customers", "order_items", "orders", "products"]
    assert 200 <= sum(len(shops[0].execute(f"SELECT id FROM {name}")) for name in names) <= 300
    assert shops[0].describe(["cities", "nowhere"]).count("CREATE TABLE ") == 1


@pytest.mark.parametrize("error", ['near "FORM": syntax error', "no such table: elephants", "no such column: elephant"])
def test_repair_leaves_what_it_does_not_understand(error: str) -> None:
    """A query is left alone where neither the error nor the schema shows what to change."""
    query = "SELECT a FROM b WHERE elephant = elephants"

    assert query == repair(query, error, "CREATE TABLE b (a);")
