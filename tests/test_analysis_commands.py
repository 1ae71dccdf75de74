"""What a terminal sees of `compare`, `forecast` and `unusual`: tables, JSON documents, hints and exit codes."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens.cli import main
from langchain_tokens.reports import anomalies, forecasting
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.webhook import Webhook
from tests.builders import make_call
from tests.test_budget_alerts import listening

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
"""The ranges that commands have by themselves are counted from the clock's time; three weeks lie well within them."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon for what looks ahead, or back from now, however long a test takes."""
    for module in (forecasting, anomalies):
        monkeypatch.setattr(module, "now_or", lambda _: NOON)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database of three weeks of calls of two variants and models, with one wild day."""
    path = tmp_path / "usage.db"
    store = UsageStore(parse_target(path))
    store.add(
        [
            make_call(
                run_id=f"{variant}-{number}",
                chain="fix",
                model=f"model-{variant}",
                tags={"variant": variant},
                started_at=NOON - timedelta(days=number),
                tokens=(size * (60 if number == 5 else 1) + number, 10),
                cost="0.01",
            )
            for number in range(1, 22)
            for variant, size in (("a", 1_000), ("b", 500))
        ]
    )
    store.close()
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it said."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("sides", "labels"),
    [
        (("tag:variant=a", "tag:variant=b"), ["a", "b"]),
        (("model-a", "model-b"), ["model-a", "model-b"]),
        (("model=model-a", "tag:variant=b"), ["model=model-a", "tag:variant=b"]),
        ((f"..{NOON:%Y-%m-%d}", f"{NOON:%Y-%m-%d}.."), [f"..{NOON:%Y-%m-%d}", f"{NOON:%Y-%m-%d}.."]),
    ],
)
def test_compare_takes_variants_models_and_ranges(
    sides: tuple[str, ...], labels: list[str], database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of side, as text and as a document."""
    code, out, err = run(capsys, "compare", *sides, "--db", database)
    assert (code, err) == (0, "")
    assert all(label in out.splitlines()[1] for label in labels)
    document = json.loads(run(capsys, "compare", *sides, "--db", database, "--json")[1])
    assert document["schema_version"] == 1
    assert [one["label"] for one in document["variants"]] == labels


def test_compare_says_what_differs(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict of a variant with half the tokens."""
    out = run(capsys, "compare", "tag:variant=a", "tag:variant=b", "--db", database)[1].replace("\n", " ")
    assert "b uses 49 % fewer tokens than a (95 % interval 4" in out
    assert ", 21 and 21 runs" in out


def test_forecast_projects(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To the end of a week, with an interval; the document has the same numbers."""
    code, out, err = run(capsys, "forecast", "--db", database, "--until", "week", "--measure", "calls")
    assert (code, err) == (0, "")
    assert "80 % interval, low" in out
    document = json.loads(run(capsys, "forecast", "--db", database, "--json")[1])
    assert (document["measure"], document["history_days"], document["low"] is None) == ("cost", 21, False)


def test_unusual_finds_and_explains(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The wild day, with what made it."""
    code, out, err = run(capsys, "unusual", "--db", database)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith(
        f"{NOON - timedelta(days=5):%Y-%m-%d} chain fix: 90,030 tokens, expected about 1,"
    )
    assert "Longer inputs:" in out
    document: dict[str, Any] = json.loads(run(capsys, "unusual", "--db", database, "--json")[1])
    assert [cause["name"] for cause in document["findings"][0]["causes"]] == ["input"]


@pytest.mark.parametrize(
    ("words", "code"),
    [((), 0), (("--fail-found",), 1), (("--fail-found", "--json"), 1), (("--fail-found", "--measure", "calls"), 0)],
)
def test_unusual_can_fail_for_a_script(
    words: tuple[str, ...], code: int, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks for it gets exit code 1 where something was found, and the same output as without."""
    since = f"{NOON - timedelta(days=29):%Y-%m-%d}"
    found, plain = (
        run(capsys, "unusual", "--db", database, "--since", since, *said)
        for said in (words, [word for word in words if word != "--fail-found"])
    )
    assert (found[0], plain[0]) == (code, 0)
    assert found[1:] == plain[1:]


def test_unusual_goes_to_a_webhook(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The document, in a terminal as in Python, has all of it as the text that a chat shows."""
    with closing(UsageStore(parse_target(database))) as store, listening() as server:
        found = anomalies.unusual(store)
        Webhook(server.url)(found)
        _, _, said = server.got[0]
    assert said["text"].splitlines()[0] == found[0].text
    assert len(said["findings"]) == len(found) == 1
    document = json.loads(run(capsys, "unusual", "--db", database, "--json")[1])
    assert document["text"].splitlines()[0] == document["findings"][0]["text"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("compare", "one"), 2, "at least two sides"),
        (("compare", "model-a", "session="), 0, "too little data"),
        (("compare", "model=x", "bogus=y"), 2, "'bogus=y' is no side: 'bogus' is none of session, run"),
        (("compare", "tag:=x", "y"), 2, "'tag:=x' is no side"),
        (("compare", "x", "y"), 0, "no call matches; the newest"),
        (("compare", "1..2", "a"), 2, "since='1' is not a moment"),
        (("compare", "a", "b", "--confidence", "1"), 2, "confidence=1.0"),
        (("forecast", "--until", "yesterday"), 2, "later midnight"),
        (("forecast", "--chain", "none"), 0, "no call matches"),
        (("unusual", "--by", "path"), 2, "unknown by='path'"),
        (("unusual", "--rate", "0"), 2, "rate=0.0"),
        (("unusual", "--chain", "none"), 0, "no call matches"),
    ],
)
def test_what_cannot_be_answered_is_told(
    words: tuple[str, ...], code: int, said: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong words are exit code 2, an empty answer says why it is empty; neither is a traceback."""
    found, out, err = run(capsys, *words, "--db", database)
    assert found == code
    assert said in f"{out} {err}".replace("\n", " ")
