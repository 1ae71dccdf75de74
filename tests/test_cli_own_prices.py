"""What a terminal sees of `prices missing` and `prices set`: which models have no price, and how they get one."""

from __future__ import annotations

import tomllib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens import PriceBook, TokenUsage
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call
from tests.test_cli import Run, fill, run

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
__all__ = ("run",)

LOCAL: dict[str, Any] = {"model": "my-llama", "provider": "vllm"}
MILLION = TokenUsage(input_tokens=1_000_000, output_tokens=1_000_000)
FILE = """\
# agreed in spring
[[prices]]
model = "my-llama"   # ours
input = "9"
output = "9"
"""


@pytest.fixture(autouse=True)
def _no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGCHAIN_TOKENS_PRICES", raising=False)


def test_models_without_a_price_are_listed_with_what_they_used(run: Run, lasting_database: Database) -> None:
    """Calls, tokens and times are those of the calls that a price would help, to the call."""
    later = NOON + timedelta(days=2)
    with closing(UsageStore(parse_target(lasting_database.url))) as store:
        store.add(
            [
                make_call(**LOCAL),
                make_call(**LOCAL, started_at=later, usage_flags=("streamed",)),
                make_call(**LOCAL, tokens=None, status="error"),
                make_call(**LOCAL, cost="1"),
                make_call(**LOCAL, usage_flags=("total_mismatch",)),
                make_call(model="gpt-4o", provider="openai"),
                make_call(model=None),
            ]
        )
    document = run("prices", "missing", "--db", lasting_database.url, "--json").document
    local, known = document["models"]
    assert local == {
        "model": "my-llama",
        "provider": "vllm",
        "calls": 2,
        "total_tokens": 240,
        "first_call_at": NOON.isoformat(),
        "last_call_at": later.isoformat(),
        "has_price_now": False,
    }
    assert (known["model"], known["calls"], known["has_price_now"]) == ("gpt-4o", 1, True)
    said = run("prices", "missing", "--db", lasting_database.url)
    assert [line.split() for line in said.out.splitlines()[2:]] == [
        ["my-llama", "vllm", "2", "240", "2026-11-20", "2026-11-22"],
        ["gpt-4o", "openai", "1", "120", "2026-11-20", "2026-11-20"],
    ]
    assert said.err.splitlines() == [
        "set it: langchain-tokens prices set my-llama --provider vllm --input … --output … --file prices.toml",
        "known by now, for 1 of them: langchain-tokens reprice --write",
    ]


def test_the_doctor_names_the_command_that_prices_a_model(run: Run) -> None:
    """What the doctor prints can be run, with rates in it; then nothing is missing and costs can be written."""
    database = fill([make_call(**LOCAL, chain="c", agent="a")])
    said = run("doctor", "--last", 10, "--db", database).out
    command = "langchain-tokens prices set my-llama --provider vllm --input … --output … --file prices.toml"
    assert command in said
    words = command.replace("…", "2").split()[1:]
    assert run(*words).code == 0
    assert run("reprice", "--write", "--prices", "prices.toml", "--db", database).code == 0
    document = run("calls", "--db", database, "--json").document
    assert document["calls"][0]["cost_usd"] == "0.000240000000"
    assert run("prices", "missing", "--db", database).out == "no model of these calls is without a price\n"


def test_nothing_to_look_at_is_said(run: Run) -> None:
    """A database without calls is no database in which all models have a price."""
    said = run("prices", "missing", "--db", fill(), "--fail-empty")
    assert (said.code, said.out, "has no calls yet" in said.err) == (3, "", True)


@pytest.mark.parametrize(
    "before", [None, "", FILE, FILE.rstrip("\n"), FILE.replace("\n", "\r\n"), "# none yet\n"], ids=repr
)
def test_what_is_in_the_file_stays(run: Run, before: str | None) -> None:
    """The price is added at the end: comments, entries and ends of lines before it are byte for byte as they were."""
    file = Path("prices.toml")
    if before is not None:
        file.write_bytes(before.encode())
        file.chmod(0o640)
    said = run(
        "prices", "set", 'my-"llama"\x7f', "--input", "0.5", "--output", "1", "--cache-read", "0", "--file", file
    )
    assert said.code == 0
    content = file.read_bytes().decode()
    assert content.startswith(before or "")
    assert tomllib.loads(content)["prices"][-1] == {
        "model": 'my-"llama"\x7f',
        "input": "0.5",
        "output": "1",
        "cache_read": "0",
    }
    assert PriceBook(file).cost(MILLION, model='my-"llama"\x7f').total_usd == Decimal("1.5")
    assert before is None or file.stat().st_mode & 0o777 == 0o640
    assert sorted(Path().iterdir()) == [file]


def test_the_last_price_holds_from_its_date_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price with a date leaves the time before to the one that was there; the file can be the setting's."""
    Path("prices.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("LANGCHAIN_TOKENS_PRICES", "prices.toml")
    words = ("prices", "set", "my-llama", "--input", "1", "--output", "1")
    document = run(*words, "--from", "2026-11-01", "--json").document
    assert (document["is_used"], document["entry"]["effective_from"]) == (True, "2026-11-01")
    book = PriceBook(Path("prices.toml"))
    costs = [
        book.cost(MILLION, model="my-llama", at=datetime(2026, month, 2, tzinfo=UTC)).total_usd for month in (10, 11)
    ]
    assert costs == [18, 2]
    again = run(*words, "--input", "5")
    assert (again.code, "another entry of the file holds for it now" in again.err) == (0, True)


@pytest.mark.parametrize(
    ("before", "arguments", "said"),
    [
        ("prices = [{ model = 'a', input = '1', output = '1' }]\n", (), "its prices are no tables [[prices]]"),
        ("[other]\nx = 1\n", (), "expected a list of [[prices]]"),
        ("[[prices\n", (), "neither TOML nor JSON that can be read"),
        (FILE, ("--input", "cheap"), "found input = 'cheap'"),
        (FILE, ("--output", "NaN"), "found output = 'NaN'"),
        (FILE, ("--from", "someday"), "from='someday' is not a moment"),
    ],
)
def test_a_file_that_cannot_be_added_to_stays(run: Run, before: str, arguments: tuple[str, ...], said: str) -> None:
    """One error, and not a byte of it is changed."""
    file = Path("prices.toml")
    file.write_text(before, encoding="utf-8")
    found = run("prices", "set", "m", "--input", "1", "--output", "1", "--file", file, *arguments)
    assert (found.code in (1, 2), found.out, found.err.count("\n")) == (True, "", 1)
    assert said in found.err
    assert file.read_text(encoding="utf-8") == before
    assert sorted(Path().iterdir()) == [file]


def test_other_files_are_refused(run: Run) -> None:
    """JSON, a folder that is not there, and no file at all; a link to a file stays one."""
    words = ("prices", "set", "m", "--input", "1", "--output", "1")
    assert "is JSON; expected a TOML file" in run(*words, "--file", "prices.json").err
    assert "in a folder that does not exist" in run(*words, "--file", "none/prices.toml").err
    assert (run(*words).code, "--file prices.toml" in run(*words).err) == (2, True)
    assert list(Path().iterdir()) == []
    Path("real.toml").write_text(FILE, encoding="utf-8")
    Path("link.toml").symlink_to("real.toml")
    assert run(*words, "--file", "link.toml").code == 0
    assert (Path("link.toml").is_symlink(), len(tomllib.loads(Path("real.toml").read_text())["prices"])) == (True, 2)
