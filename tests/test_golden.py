"""The reading commands, word for word: on the same calls each time, in narrow and wide terminals, and as JSON."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.golden import FOLDER, expect, said
from tests.seeded import fill_seeded, set_clocks

WIDTHS = (40, 60, 80, 120)
COMMANDS = {
    "report": "report",
    "report-by": "report --by agent,model --sort cost --since 2026-10-24 --until 2026-11-01 -n 4",
    "report-tag": "report --by tag:variant --user raj --user ann --tag variant=a --tag variant=b",
    "report-day": "report --timeline day --tz Asia/Kolkata --since 2026-10-28 --by mode",
    "report-hour": "report --timeline hour --tz Europe/Berlin --since 2026-10-24 --until 2026-10-26",
    "report-week": "report --timeline week",
    "report-nothing": "report --agent nobody --fail-empty",
    "top-calls": "top -n 4",
    "top-runs": "top --what runs --by tokens -n 4",
    "top-agents": "top --what agents --by duration",
    "runs": "runs -n 5",
    "run": "run 01990025-db08-7000-8…",
    "sessions": "sessions -n 4",
    "sessions-cost": "sessions --sort cost -n 4 --tz America/New_York",
    "calls": "calls -n 6",
    "calls-failed": "calls --status error --sort duration -n 5",
    "tail": "tail -n 5",
    "compare": "compare tag:variant=a tag:variant=b --until 2026-11-01",
    "compare-models": "compare gpt-4o-mini gpt-4o claude-sonnet-4-5 --unit call --agent supervisor --agent coder",
    "forecast": "forecast --measure tokens --until week",
    "forecast-cost": "forecast --agent coder",
    "unusual": "unusual --by run --since 2026-10-20",
    "unusual-nothing": "unusual --every hour --measure calls --since 2026-10-20 --tz Asia/Kolkata",
    "profile": "profile",
    "profile-agent": "profile --agent coder --mode batch --since 2026-10-24 --until 2026-11-01",
    "inputs": "inputs --since 2026-10-20",
    "inputs-tag": "inputs --by tag:variant --since 2026-10-20 --agent coder",
    "findings": "findings --since 2026-10-20 --status error",
    "reconcile": "reconcile openai-usage.json",
    "budget-list": "budget list --file budgets.toml -n 3 --tz Asia/Kolkata",
    "budget-check": "budget check --file budgets.toml",
}
FILES = {
    "profile-folded": "profile --format folded --measure cost",
    "profile-speedscope": "profile --format speedscope --agent coder",
    "export-csv": "export --format csv --chain summarize --until 2026-10-25",
    "export-jsonl": "export --chain summarize --until 2026-10-25",
    "import": "import usage.jsonl --dry-run --db other.db",
    "import-json": "import usage.jsonl --dry-run --db other.db --json",
}
"""What is no table, and the same at each width."""
_CUT_NUMBER = re.compile(r"(?<![\w-])[\d,.]*\d…")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded database."""
    return fill_seeded(tmp_path_factory.mktemp("seeded") / "langchain_tokens.db")


@pytest.fixture
def here(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands run in."""
    monkeypatch.chdir(database.parent)
    set_clocks(monkeypatch)
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "LANGCHAIN_TOKENS_TZ"):
        monkeypatch.delenv(name, raising=False)
    return database.parent


@pytest.mark.parametrize("name", COMMANDS)
def test_text(name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At each width all lines fit, no number is cut, and what is hidden is named; a pipe has no width."""
    arguments = COMMANDS[name].split()
    in_pipe = said(arguments, capsys, here)
    shown = [f"$ langchain-tokens {COMMANDS[name]}\n{in_pipe}"]
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        text = said(arguments, capsys, here)
        shown.append(f"{f' {width} columns ':-^{width}}\n{text}")
        data, hints = text, "langchain-tokens:"
        assert not _CUT_NUMBER.search(data)
        is_table = "exit code" not in text and hints not in text
        assert not is_table or max(map(len, text.splitlines())) <= width, text
        headings = {word for word in ("share", "input", "tokens", "day") if re.search(rf"\b{word}\b", in_pipe)}
        assert not is_table or all(re.search(rf"\b{word}\b", text) for word in headings), "neither shown nor named"
    assert "…" not in in_pipe.replace(" … ", "")
    expect(f"{name}.txt", "\n".join(shown))


@pytest.mark.parametrize("name", COMMANDS)
def test_json(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys and numbers of the JSON document, unformatted."""
    expect(f"{name}.json", said([*COMMANDS[name].split(), "--json"], capsys, here))


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs read, and what is said of it, as it is."""
    if name.startswith("import"):
        said(["export", "-o", "usage.jsonl", "--force"], capfd, here)
    monkeypatch.setenv("COLUMNS", "40")
    expect(f"{name}.txt", f"$ langchain-tokens {FILES[name]}\n{said(FILES[name].split(), capfd, here)}")


def test_no_golden_file_is_left_over() -> None:
    """Each file belongs to a command."""
    assert {file.stem for file in FOLDER.iterdir()} == {*COMMANDS, *FILES}
