"""What a terminal sees: each command's data, hints and exit code, on databases with calls, without calls, and none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens import UsageStore
from langchain_tokens.cli import main
from langchain_tokens.codec import encode
from langchain_tokens.pricing.catalogue import bundled
from langchain_tokens.store.engine import make_engine, writing
from langchain_tokens.store.schema import HEAD, upgrade
from langchain_tokens.store.target import parse_target
from langchain_tokens.store.upgrade import found_revision
from tests.builders import NOON, make_call, make_fact, screen_calls
from tests.test_price_people import feed, serving

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

DATABASE = "usage.db"
HEAVY = ("sqlmodel", "sqlalchemy", "alembic", "langchain_core", "langgraph", "genai_prices", "tiktoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout, which has nothing else."""
        document: dict[str, Any] = json.loads(self.out)
        assert document.pop("schema_version") == 1
        return document


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process."""

    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(code=int(exit_.value.code or 0), out=out, err=err)

    return run


def fill(calls: Sequence[Any] = (), name: str = DATABASE) -> Path:
    """Make a database in the working directory, with some calls."""
    store = UsageStore(parse_target(name))
    store.add(calls, [make_fact()] if calls else [])
    store.close()
    return Path(name).absolute()


@pytest.fixture
def seeded() -> Path:
    """A database with five priced calls and one that nobody priced."""
    gpt: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "chain": "answer", "agent": "writer"}
    parts: dict[str, Any] = {"input_cost_usd": Decimal(1), "output_cost_usd": Decimal(1), "other_cost_usd": Decimal(0)}
    priced = make_call(call_id="priced", cost="2", **gpt, **parts)
    unpriced = make_call(call_id="unpriced", tokens=(1_000, 100), started_at=NOON + timedelta(hours=1), **gpt)
    return fill([*screen_calls(), priced, unpriced])


# Golden outputs


def test_check_says_what_it_checked(run: Run, seeded: Path) -> None:
    """A database in which nothing differs is said to be so, with exit code 0."""
    said = run("check", "--db", seeded)
    assert said == Said(code=0, out="6 calls checked, 6 of them without raw usage: no differences\n", err="")
    assert run("check", "--db", seeded, "--json").document == {
        "is_clean": True,
        "calls": 6,
        "calls_without_raw": 6,
        "differences": [],
    }


def test_check_shows_what_differs(run: Run) -> None:
    """A stored sum that is not that of its parts is a line of its own, and exit code 1."""
    database = fill([make_call(call_id="wrong", tokens=None, usage=None), broken()])
    said = run("check", "--db", database)
    assert (said.code, said.err) == (1, "")
    assert said.out.splitlines() == [
        "2 calls checked, 2 of them without raw usage: 1 differences",
        "  broken  total_cost: stored 3.000000000000, derived 2.000000000000",
    ]
    document = run("check", "--db", database, "-j").document
    assert document["is_clean"] is False
    assert document["differences"] == [
        {"row": "broken", "column": "total_cost", "stored": "3.000000000000", "derived": "2.000000000000"}
    ]


def broken() -> Any:
    """A call whose cost is not the sum of its parts."""
    parts: dict[str, Any] = {"input_cost_usd": Decimal(1), "output_cost_usd": Decimal(1), "other_cost_usd": Decimal(0)}
    return make_call(call_id="broken", cost="3", **parts)


def test_reprice_shows_what_would_change(run: Run, seeded: Path) -> None:
    """Each model is a line with what its calls cost so far, would cost, and what is newly priced; nothing is written."""
    said = run("reprice", "--db", seeded, "--model", "gpt-4o")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "model                                calls  unpriced      before USD       after USD     was unknown",
        "gpt-4o                                   2         0        2.000000        0.000450        0.003500",
        "total                                    2         0        2.000000        0.000450        0.003500",
        "nothing written",
    ]
    document = run("reprice", "--db", seeded, "--model", "gpt-4o", "--json").document
    total = {
        "calls": 2,
        "changed_calls": 2,
        "unpriceable_calls": 0,
        "before_usd": "2.000000000000",
        "after_usd": "0.000450000000",
        "newly_priced_usd": "0.003500000000",
        "difference_usd": "-1.999550000000",
    }
    assert document == {
        "is_estimate": False,
        "written_calls": 0,
        "rows": [{"model": "gpt-4o", **total}],
        "total": total,
    }


def test_reprice_writes_when_asked(run: Run, seeded: Path) -> None:
    """`--write` fills in unknown costs, `--overwrite` replaces known ones too; a second time finds nothing to do."""
    chosen = ("reprice", "--db", seeded, "--model", "gpt-4o", "--json", "--write")
    assert run(*chosen).document["written_calls"] == 1
    assert run(*chosen, "--overwrite", "--reason", "new contract").document["written_calls"] == 1
    assert run(*chosen, "--overwrite").document["written_calls"] == 0
    store = UsageStore(parse_target(seeded))
    assert {call.cost_usd for call in store.calls(model="gpt-4o")} == {Decimal("0.0035"), Decimal("0.00045")}
    assert [revision["reason"] for revision in store.revisions("priced")] == ["new contract"]
    store.close()


def test_reprice_by_own_prices(run: Run, seeded: Path) -> None:
    """A file of own prices is used where it is named."""
    Path("own.toml").write_text('[[prices]]\nmodel = "gpt-4o"\ninput = "1"\noutput = "1"\n', encoding="utf-8")
    said = run("reprice", "--db", seeded, "--chain", "answer", "--prices", "own.toml", "--json")
    assert said.document["total"]["after_usd"] == "0.000120000000"


def test_what_if_of_another_model_and_time(run: Run, seeded: Path) -> None:
    """Another model or time is an estimate; a model that nobody knows is answered with those near it."""
    asked = ("reprice", "--db", seeded, "--model", "gpt-4o")
    assert run(*asked, "--as-model", "gpt-4o-mini", "--as-provider", "openai", "-j").document["is_estimate"] is True
    assert run(*asked, "--at", "2026-11-01", "-j").document["is_estimate"] is True
    said = run(*asked, "--as-model", "gpt-4p")
    assert said.code == 0
    assert "no price is known for the model 'gpt-4p'; near it: gpt-4" in said.err


def test_doctor_says_what_is_missing_and_where_it_looked(run: Run, seeded: Path) -> None:
    """Findings follow the line that names the database and the range."""
    said = run("doctor", "--db", seeded, "--since", "2026-11-01")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"sqlite:///{seeded}, since 2026-11-01:",
        "1 of 6 calls have no price that covers their usage (openai/gpt-4o)",
        (
            "  set one: langchain-tokens prices set gpt-4o --provider openai --input … --output … --file prices.toml, or "
            "PriceBook([{'model': 'NAME', 'input': '…', 'output': '…'}]); is it your own machine, then "
            "PriceBook(free_providers={'PROVIDER'}); and for what is stored: store.reprice(prices=book, write=True)"
        ),
    ]
    document = run("doctor", "--db", seeded, "--last", 2, "--json").document
    assert document.pop("findings")[0]["kind"] == "unpriced"
    assert document == {
        "database": f"sqlite:///{seeded}",
        "since": None,
        "until": None,
        "last": 2,
        "calls": 2,
        "unanswered_calls": 0,
    }


def test_doctor_looks_at_a_week_unless_told(run: Run) -> None:
    """By default calls of the last 7 days count; older ones are named where there is nothing else."""
    now = datetime.now(UTC)
    old, new = (make_call(started_at=now - timedelta(days=days), tokens=None, streamed=True) for days in (8, 6))
    database = fill([old], "old.db")
    said = run("doctor", "--db", database)
    assert (said.code, said.out) == (0, "")
    assert f"since 7d: no call matches; the newest in sqlite:///{database} is of {old.started_at:%Y-%m-%d}" in said.err
    assert run("doctor", "--db", fill([old, new]), "-j").document["calls"] == 1


def test_doctor_reads_more_than_a_batch(run: Run) -> None:
    """Gaps of one kind are counted over all calls, however many are read at a time."""
    database = fill([make_call(chain="c", model="m", cost=None) for _ in range(1_203)])
    everything = run("doctor", "--db", database, "--since", "2026-11-01", "-j").document
    newest = run("doctor", "--db", database, "--last", "1100", "-j").document
    assert [(found["calls"], [one["calls"] for one in found["findings"]]) for found in (everything, newest)] == [
        (1_203, [1_203]),
        (1_100, [1_100]),
    ]


def test_doctor_shows_the_largest_findings(run: Run) -> None:
    """A text ends after twenty findings and says how many more there are; JSON has them all."""
    database = fill([make_call(chain="c", model=f"m{number}") for number in range(23)])
    said = run("doctor", "--db", database, "--since", "2026-11-01")
    assert said.out.count("have no price") == 20
    assert "and 3 more findings" in said.err
    assert len(run("doctor", "--db", database, "--since", "2026-11-01", "-j").document["findings"]) == 23


def test_current_schema(run: Run, seeded: Path) -> None:
    """The schema of the database stands beside the one that this version needs."""
    said = run("db", "current", "--db", seeded)
    assert said == Said(code=0, out=f"sqlite:///{seeded}: schema {HEAD}; this version needs {HEAD}\n", err="")
    assert run("db", "current", "--db", seeded, "-j").document == {
        "database": f"sqlite:///{seeded}",
        "exists": True,
        "schema": HEAD,
        "needed_schema": HEAD,
        "is_current": True,
    }


def test_upgrade_of_an_older_schema(run: Run) -> None:
    """An older database is named with the command; after it, the file as it was stands beside it."""
    target = parse_target(DATABASE)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection, "0001")
    engine.dispose()
    said = run("db", "current", "--db", DATABASE)
    assert (said.code, f"schema 0001; this version needs {HEAD}" in said.out) == (0, True)
    assert "langchain-tokens db upgrade" in said.err
    refused = run("check", "--db", DATABASE)
    assert (refused.code, "run: langchain-tokens db upgrade" in refused.err) == (1, True)
    done = run("db", "upgrade", "--db", DATABASE)
    (copy,) = Path().glob("usage.db.backup-0001-*")
    assert (done.code, done.out) == (0, f"schema 0001 → {HEAD}; 0 calls kept\n")
    assert done.err == f"the file as it was: {copy.absolute()}\n"
    assert run("db", "upgrade", "--db", DATABASE).out == f"schema {HEAD} already: nothing to do\n"
    again = run("db", "upgrade", "--db", DATABASE, "--json").document
    assert again == {"before": HEAD, "after": HEAD, "calls": 0, "backup": None}


def test_newer_schema_asks_for_a_newer_package(run: Run, seeded: Path) -> None:
    """A database of a later version is not touched, and it is said what to do."""
    target = parse_target(seeded)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        connection.execute(text("UPDATE langchain_tokens_version SET version_num = '9999'"))
    engine.dispose()
    said = run("db", "current", "--db", seeded)
    assert (said.code, "update the package" in said.err) == (0, True)
    assert [run(command, "--db", seeded).code for command in ("check", "reprice", "doctor")] == [1, 1, 1]


def test_rates_of_a_model(run: Run) -> None:
    """A model's rates stand by name, with the tiers above which others hold."""
    said = run("prices", "show", "gemini-2.5-pro", "--provider", "google_genai", "--at", "2025-10-01")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"google/gemini-2.5-pro  (genai-prices {bundled().version})"
    assert "  output_mtok                             10" in lines
    assert "  above 200,000 input tokens:" in lines
    document = run(
        "prices", "show", "gemini-2.5-pro", "--provider", "google_genai", "--at", "2025-10-01", "-j"
    ).document
    assert (document["unit_prices"]["output_mtok"], document["tiers"][0]["above_input_tokens"]) == ("10", 200_000)
    assert document["tiers"][0]["unit_prices"]["output_mtok"] == "15"


def test_free_models_are_free(run: Run) -> None:
    """A provider that is declared free has no rates, and that is no lack."""
    said = run("prices", "show", "llama3", "--provider", "ollama")
    assert said == Said(code=0, out="ollama/llama3  (declared)\n  free\n", err="")
    document = run("prices", "show", "llama3", "--provider", "ollama", "-j").document
    assert (document["unit_prices"], document["source"]) == ({}, "declared")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("gpt-4oo",), "near it: gpt-4o"),
        (("gpt-4o", "--provider", "opanai"), "nobody of that name is in the catalogue; near it: openai"),
        (("gpt-4o", "--provider", "anthropic"), "there is one of 'openai'"),
        (("zzzzzzzzzzzzzzz",), "'zzzzzzzzzzzzzzz'; an own price helps: --prices FILE"),
    ],
)
def test_unknown_model_is_answered_with_what_is_known(run: Run, arguments: tuple[str, ...], hint: str) -> None:
    """A model without a price is one line that names models or providers near it, and exit code 1."""
    said = run("prices", "show", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert hint in said.err


def test_models_compared(run: Run) -> None:
    """The cheapest stands first, with all digits of the amounts; models without a price are named."""
    models = ("--model", "gpt-4", "--model", "gpt-4o-mini", "--model", "gpt-99")
    said = run("prices", "compare", 1000, 500, "--provider", "openai", *models)
    assert said.code == 0
    assert said.out.splitlines() == [
        "model               cost USD",
        "openai/gpt-4o-mini   0.00045",
        "openai/gpt-4         0.06000",
    ]
    assert "no price is known for the model 'gpt-99'" in said.err
    document = run("prices", "compare", 1000, 500, "--provider", "openai", *models, "--json").document
    assert [(row["model"], row["total_usd"]) for row in document["rows"]] == [
        ("gpt-4o-mini", "0.000450000000"),
        ("gpt-4", "0.060000000000"),
    ]
    assert document["unpriced_models"] == ["gpt-99"]


def test_all_models_of_a_provider_compared(run: Run) -> None:
    """Without names all models of the provider are compared; a provider that nobody lists is an error."""
    rows = run("prices", "compare", 1000, 500, "--provider", "openai", "-j").document["rows"]
    totals = [Decimal(row["total_usd"]) for row in rows]
    assert len(rows) > 20
    assert totals == sorted(totals)
    assert run("prices", "compare", 1, 1, "--provider", "nobody").code == 1


def test_update_keeps_what_came(run: Run, tmp_path: Path) -> None:
    """Fetched prices are used by the next command, and marked; the file is named."""
    with serving(feed(len(bundled().providers))) as url:
        said = run("prices", "update", "--url", url)
        document = run("prices", "update", "--url", url, "--json").document
    file = tmp_path / "user-data" / "langchain_tokens" / "prices.json"
    assert (said.code, str(file) in said.err, document["file"]) == (0, True, str(file))
    assert "+fetched." in said.out
    shown = run("prices", "show", "gpt-4", "--provider", "openai", "-j").document
    assert (shown["unit_prices"]["output_mtok"], shown["version"]) == ("2", document["version"])


def test_update_that_fails_is_one_line(run: Run) -> None:
    """Nobody there is an error, and the prices stay as they were."""
    said = run("prices", "update", "--url", "http://127.0.0.1:9/x", "--timeout", "2")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert run("prices", "show", "gpt-4", "--provider", "openai").code == 0


# Databases that have nothing


@pytest.mark.parametrize("command", [("check",), ("reprice",), ("reprice", "--write"), ("doctor",)])
@pytest.mark.parametrize("kind", ["no file", "empty file", "memory"])
def test_reading_makes_no_database(run: Run, command: tuple[str, ...], kind: str) -> None:
    """Where there is no database a command that reads says so, and leaves everything as it was."""
    if kind == "empty file":
        Path(DATABASE).touch()
    before = {path: path.stat().st_size for path in Path().iterdir()}
    said = run(*command, "--db", ":memory:" if kind == "memory" else DATABASE)
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "there is no database of langchain_tokens at" in said.err
    assert {path: path.stat().st_size for path in Path().iterdir()} == before


def test_reading_makes_no_tables(run: Run, postgresql_database: Database) -> None:
    """A server's database that has none of our tables is left without them; once there are calls they are read."""
    target = parse_target(postgresql_database.url)
    for name in ("check", "reprice", "doctor"):
        said = run(name, "--db", postgresql_database.url)
        assert (said.code, "there is no database of langchain_tokens at" in said.err) == (1, True)
    said = run("db", "current", "--db", postgresql_database.url)
    assert (said.code, f"{target}: schema none" in said.out) == (0, True)
    assert found_revision(target) is None
    store = UsageStore(target)
    store.add(screen_calls())
    store.close()
    assert run("check", "--db", postgresql_database.url, "-j").document["calls"] == 4


def test_current_schema_of_nothing(run: Run) -> None:
    """Asking for the schema makes no file either."""
    said = run("db", "current")
    assert (said.code, "schema none; this version needs" in said.out) == (0, True)
    assert "there is no such file yet" in said.err
    assert run("db", "current", "--json").document["exists"] is False
    assert list(Path().iterdir()) == []
    Path(DATABASE).touch()
    assert "nothing is stored there yet" in run("db", "current", "--db", DATABASE).err
    assert Path(DATABASE).stat().st_size == 0


def test_nothing_that_was_checked_is_not_called_clean(run: Run) -> None:
    """A database without calls, or without any that match, is neither clean nor not."""
    said = run("check", "--db", fill())
    assert (said.code, said.out) == (1, "0 calls checked: nothing is known about them\n")
    assert "has no calls yet: pass TokenUsageHandler() in callbacks=" in said.err
    none = run("check", "--db", fill([make_call()]), "--model", "nope", "-j")
    assert (none.code, none.document["is_clean"]) == (1, None)
    assert "no call matches; the newest in" in none.err


@pytest.mark.parametrize("command", ["reprice", "doctor"])
def test_database_without_calls_is_explained(run: Run, command: str) -> None:
    """It is no error that there are no calls, but it is said."""
    said = run(command, "--db", fill())
    assert (said.code, "has no calls yet" in said.err) == (0, True)
    assert run(command, "--db", DATABASE, "--json").document


def test_records_that_wait_are_delivered_first(run: Run) -> None:
    """Calls that a killed process left in its journal are read, even where it did not come to make the database."""
    folder = Path(f"{DATABASE}.pending")
    folder.mkdir()
    (folder / "1-a.jsonl").write_bytes(encode(make_call(chain="left")))
    assert run("doctor", "--db", DATABASE, "--last", 5, "-j").document["calls"] == 1


# What holds for every command


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("check", "--nonsense"),
        ("check", "--since", "nonsense"),
        ("doctor", "--last", "0"),
        ("doctor", "--since", "2026-11-02", "--until", "2026-11-01"),
        ("reprice", "--overwrite"),
        ("reprice", "--at", "nonsense"),
        ("prices", "compare", "1", "1"),
        ("prices", "compare", "1"),
        ("prices", "show", "gpt-4o", "--at", "nonsense"),
        ("db",),
        ("report", "--by", "nonsense"),
        ("report", "--timeline", "day", "--by", "agent,model"),
        ("report", "--timeline", "year"),
        ("report", "--tz", "Nowhere"),
        ("report", "--tag", "variant"),
        ("report", "--sort", "name"),
        ("report", "-n", "-1"),
        ("top", "--what", "users"),
        ("calls", "--sort", "name"),
        ("--since", "nonsense"),
    ],
)
@pytest.mark.usefixtures("seeded")
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever cannot be asked is told on stderr, with exit code 2 and no traceback."""
    monkeypatch.setenv("LANGCHAIN_TOKENS_URL", DATABASE)
    said = run(*arguments)
    assert (said.code, "Traceback" in said.err) == (2, False)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_has_examples(run: Run, option: str) -> None:
    """Help names the commands; each command's has examples."""
    everything = run(option)
    assert (everything.code, everything.err) == (0, "")
    for command in ("check", "reprice", "doctor", "db", "prices"):
        assert command in everything.out
    commands = [("check",), ("reprice",), ("doctor",), ("db", "current"), ("db", "upgrade")]
    commands += [("prices", "show"), ("prices", "compare"), ("prices", "update")]
    for words in commands:
        said = run(*words, option)
        assert said.code == 0
        assert f"Examples:\n    langchain-tokens {' '.join(words)}" in said.out


def test_version(run: Run) -> None:
    """The version is said."""
    said = run("--version")
    assert (said.code, said.out.split()[0]) == (0, "langchain_tokens")


def test_password_is_never_shown(run: Run) -> None:
    """A database's URL is shown without its password, also in an error."""
    said = run("check", "--db", "postgresql://app:topsecret@127.0.0.1:9/usage")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "app:***@127.0.0.1" in said.err
    assert "topsecret" not in said.err


def test_names_cannot_forge_the_output(run: Run) -> None:
    """Control characters of a name are shown escaped."""
    said = run("reprice", "--db", fill([make_call(model="\x1b[2Jgone", cost="1")]))
    assert "\x1b" not in said.out
    assert "\\x1b[2Jgone" in said.out


def test_error_that_nobody_foresaw(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one line, too, which names how to see more; with `LANGCHAIN_TOKENS_DEBUG` it is raised."""
    monkeypatch.setattr("langchain_tokens.PriceBook", lambda _: 1 / 0, raising=False)
    monkeypatch.setenv("LANGCHAIN_TOKENS_DEBUG", "0")
    said = run("prices", "show", "gpt-4")
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "ZeroDivisionError" in said.err
    assert "LANGCHAIN_TOKENS_DEBUG=1" in said.err
    monkeypatch.setenv("LANGCHAIN_TOKENS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["prices", "show", "gpt-4"])


def test_interrupted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with exit code 130 and no traceback."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("langchain_tokens.PriceBook", interrupt, raising=False)
    said = run("prices", "show", "gpt-4")
    assert (said.code, "Traceback" in said.err) == (130, False)


# The command as it is installed


def command(*arguments: str, environment: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Run the command as a process of its own."""
    program = [sys.executable, "-m", "langchain_tokens.cli", *arguments]
    root = Path(__file__).parents[1]
    return subprocess.run(
        program,
        env={**os.environ, "PYTHONPATH": str(root), **(environment or {})},
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )


def test_process(seeded: Path) -> None:
    """A process says the same as the function, without colours in whatever terminal it runs."""
    done = command("check", environment={"LANGCHAIN_TOKENS_URL": str(seeded), "FORCE_COLOR": "1"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"6 calls checked, 6 of them without raw usage: no differences\n"


@pytest.mark.parametrize("terminal", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}])
def test_no_colours(terminal: dict[str, str]) -> None:
    """Nothing but text comes out, as help, as usage or as an error."""
    for arguments in (("--help",), ("nonsense",), ("check",)):
        done = command(*arguments, environment=terminal)
        assert b"\x1b" not in done.stdout + done.stderr


def test_encoding_that_has_few_characters(run: Run) -> None:
    """A terminal of a small encoding gets escapes, not an error."""
    target = parse_target(DATABASE)
    engine = make_engine(target)
    with writing(engine, target) as connection:
        upgrade(connection, "0001")
    engine.dispose()
    done = command("db", "upgrade", "--db", DATABASE, environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout.startswith(b"schema 0001 \\u2192 ")) == (0, True)


def test_pipe_that_is_closed(seeded: Path) -> None:
    """A reader who has enough, such as `head`, ends the command quietly."""
    reading, writing_ = os.pipe()
    os.close(reading)
    root = str(Path(__file__).parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "langchain_tokens.cli", "reprice", "--db", str(seeded)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=writing_,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing_)
    assert (done.returncode, b"Traceback" in done.stderr, b"Broken" in done.stderr) == (0, False, False)


@pytest.mark.parametrize(
    "arguments", ["report", "export --format csv", "check", "--version", "--help", "report --help"]
)
@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        (">&-", "standard output is closed; > /dev/null discards it"),
        ("> /dev/full", "standard output cannot be written (No space left on device)"),
    ],
)
def test_output_that_cannot_be_written_is_one_error(arguments: str, redirected: str, said: str, seeded: Path) -> None:
    """Without a standard output, or on a full device, a command says so in a line and fails."""
    program = f"'{sys.executable}' -m langchain_tokens.cli {arguments} {redirected}"
    done = shell(program, seeded)
    assert (done.returncode, done.stderr.decode()) == (1, f"langchain-tokens: {said}\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("runs --session nobody > /dev/null 2>&-", 0),
        ("runs --session nobody > /dev/null 2> /dev/full", 0),
        ("check >&- 2>&-", 1),
        ("check <&- >&- 2>&-", 1),
        ("check > /dev/full 2>&1", 1),
    ],
)
def test_exit_code_is_right_where_nothing_can_be_said(line: str, code: int, seeded: Path) -> None:
    """What cannot be told on the standard error is left out, and changes no exit code."""
    done = shell(f"'{sys.executable}' -m langchain_tokens.cli {line}", seeded)
    assert (done.returncode, done.stdout + done.stderr) == (code, b"")


def shell(program: str, database: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a line in a shell, which can close a process's streams."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "LANGCHAIN_TOKENS_URL": str(database)}
    return subprocess.run(  # noqa: S602  # a line of this test
        program, shell=True, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["reprice", "--help"], ["--version"], ["nonsense"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help, version and wrong usage need neither a database library nor LangChain nor the prices."""
    program = (
        "import sys\nfrom langchain_tokens.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_script_is_declared() -> None:
    """The distribution names the command, and it is this function."""
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="langchain-tokens")
    assert script.load() is main
