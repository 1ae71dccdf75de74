"""Does the plugin for pytest see what tests use? It holds them to it, and costs nothing where nobody asks."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import langchain_tokens
from langchain_tokens.errors import TokensError
from langchain_tokens.testreport import Spent, growth, parse_tolerance, read_report, report_table, write_report

pytest_plugins = ("pytester",)

APP = """
import asyncio
import threading

import pytest

from langchain_tokens import TokenUsageHandler, track
from langchain_tokens.testing import ScriptedChatModel


def say(times=1, **more):
    model = ScriptedChatModel("hello", **{"usage": (100, 20), **more})
    for _ in range(times):
        model.invoke("hi", {"run_name": "say"})


async def asay():
    await ScriptedChatModel("hello", usage=(100, 20)).ainvoke("hi")
"""
FIXTURE = """
def test_is_live(token_usage):
    assert token_usage.total.calls == 0
    say(2)
    token_usage.assert_usage(max_calls=2, max_total_tokens=240, max_cost_usd="0.001")
    assert [call.chain for call in token_usage.calls] == ["say", "say"]
    assert (token_usage.name, token_usage.status) == ("test_is_live", "running")

def test_begins_anew(token_usage):
    say()
    token_usage.assert_usage(max_calls=1)

def test_fails(token_usage):
    say(2)
    token_usage.assert_usage(max_calls=1)

@pytest.fixture
def primed():
    say()
    yield
    say()

def test_fixtures_count(primed, token_usage):
    assert token_usage.total.calls == 1

def test_late(request):
    say()
    usage = request.getfixturevalue("token_usage")
    say()
    assert usage.total.calls == 1

@pytest.mark.asyncio
async def test_tasks(token_usage):
    await asyncio.gather(asay(), asay())
    token_usage.assert_usage(max_calls=2)
    assert token_usage.total.calls == 2

@pytest.mark.asyncio(loop_scope="module")
async def test_in_a_loop_that_runs_already(token_usage):
    await asay()
    assert token_usage.total.calls == 1

@pytest.mark.asyncio(loop_scope="module")
async def test_in_the_same_loop(token_usage):
    await asay()
    assert token_usage.total.calls == 1

def test_threads(token_usage):
    thread = threading.Thread(target=say)
    thread.start()
    thread.join()
    assert token_usage.total.calls == 1

def test_code_with_a_handler_of_its_own(token_usage, tmp_path):
    with TokenUsageHandler(tmp_path / "own.db") as handler:
        ScriptedChatModel("x").invoke("x", {"callbacks": [handler]})
        with track(tmp_path / "other.db", run="mine") as run:
            say()
        assert (len(handler.runs), run.total.calls) == (1, 1)
    assert token_usage.total.calls == 2
"""
MARKER = """
@pytest.mark.token_budget(max_calls=1)
def test_too_many():
    say(2)

@pytest.mark.token_budget(max_calls=1)
class TestMany:
    @pytest.mark.token_budget(max_calls=3, max_cost_usd=1)
    def test_closer_wins(self):
        say(3)

    def test_of_the_class(self):
        say(2)

@pytest.mark.token_budget(max_calls=1)
@pytest.mark.asyncio
async def test_asynchronous():
    await asay()
    await asay()

@pytest.mark.token_budget(max_cost_usd=1)
def test_unpriced():
    say(model="nobody-knows-it", provider=None)

@pytest.mark.token_budget(max_cals=1)
def test_misspelt():
    pass

@pytest.mark.token_budget(3)
def test_positional():
    pass

@pytest.mark.token_budget(max_calls=0)
def test_own_failure_is_what_counts():
    say()
    raise ValueError("mine")

@pytest.mark.token_budget(max_calls=0)
@pytest.mark.skip
def test_skipped():
    say()
"""
REPORT = """
def test_nothing(): pass

@pytest.mark.parametrize("times", [1, 3])
def test_times(times): say(times)

def test_unpriced(): say(model="nobody-knows-it", provider=None)

@pytest.mark.asyncio
async def test_task(): await asay()

def test_fails():
    say()
    assert False

@pytest.mark.skip
def test_skipped(): pass
"""
PARTS = """
import unittest

class TestParts(unittest.TestCase):
    def test_parts(self):
        for part in range(3):
            with self.subTest(part=part):
                if part == 1:
                    self.skipTest("not this one")
                say()
"""


def spent(calls: int = 1, tokens: int | None = 100, cost: str | None = None, **more: Any) -> Spent:
    return Spent(calls=calls, total_tokens=tokens, cost_usd=None if cost is None else Decimal(cost), **more)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs pytest on a text of tests, with the plugin and those that are said, and no others."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(langchain_tokens.__file__).parents[1]))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings =\n    error\n")

    def run_tests(tests: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_app=APP + tests)
        plugins = ("langchain_tokens.pytest_plugin", "pytest_asyncio.plugin", "xdist.plugin")
        return pytester.runpytest_subprocess(*(word for name in plugins for word in ("-p", name)), *arguments)

    return run_tests


def test_fixture_is_a_live_run(run: Any) -> None:
    """It sees what the test and its fixtures do, in tasks, loops and threads, beside handlers of the code's own."""
    result = run(FIXTURE)
    result.assert_outcomes(passed=9, failed=1)
    result.stdout.fnmatch_lines(
        ["*_ test_fails _*", ">*token_usage.assert_usage(max_calls=1)", "E*- 2 calls; at most 1", "E*say*2*240*"]
    )


def test_marker_holds_tests_to_their_budget(run: Any) -> None:
    """A test that passed and used more fails with a table; limits that cannot be are errors; others are as they were."""
    result = run(MARKER, "-rfE")
    result.assert_outcomes(passed=1, failed=5, errors=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "token_budget: unknown limit max_cals; allowed: max_calls*",
            "token_budget takes limits by name, such as max_calls=3; found (3,)",
            "token_budget: more was used than may be:",
            "- 2 calls; at most 1",
            "- the cost is not known: 1 of 1 calls have no price*",
            "E*ValueError: mine",
            "FAILED test_app.py::TestMany::test_of_the_class*",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_report_says_what_each_test_used(run: Any, pytester: pytest.Pytester, workers: str) -> None:
    """The table and the file are the same with and without workers, and name what the sums lack."""
    result = run(REPORT, "-n", workers, "--token-report=out/tokens.json")
    result.assert_outcomes(passed=5, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "test *calls *failed *input *output *total *cost USD",
            "test_app.py::test_times?3? *3 *0 *300 *60 *360 *0.000081",
            "test_app.py::test_fails *1 *0 *100 *20 *120 *0.000027",
            "test_app.py::test_unpriced *1 *0 *100 *20 *120 *\u2013",
            "total *7 *0 *700 *140 *840 *0.000162",
            "1 of 7 calls without a price: cost not in these sums",
            "written to out/tokens.json",
        ]
    )
    document = json.loads((pytester.path / "out" / "tokens.json").read_text(encoding="utf-8"))
    assert {test: values["calls"] for test, values in document["tests"].items()} == {
        "test_app.py::test_fails": 1,
        "test_app.py::test_task": 1,
        "test_app.py::test_times[1]": 1,
        "test_app.py::test_times[3]": 3,
        "test_app.py::test_unpriced": 1,
    }
    assert document["tests"]["test_app.py::test_times[3]"]["cost_usd"] == "0.000081"
    assert document["without_calls"] == ["test_app.py::test_nothing"]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_test_whose_part_was_skipped_is_reported(run: Any, pytester: pytest.Pytester, workers: str) -> None:
    """What its other parts used counts, and is held against the baseline."""
    run(PARTS, "-n", workers, "--token-report=tokens.json")
    assert {test: one.calls for test, one in read_report(pytester.path / "tokens.json").items()} == {
        "test_app.py::TestParts::test_parts": 2
    }


@pytest.mark.parametrize(
    ("tests", "option"),
    [("def test_app(): say()", "--collect-only"), ("import nothing_of_that_name", "-q"), ("", "-q")],
    ids=["collected only", "not importable", "no tests"],
)
def test_a_run_of_no_test_writes_nothing(run: Any, pytester: pytest.Pytester, tests: str, option: str) -> None:
    """The file of an earlier run is a baseline that somebody keeps: it is not emptied, and that is said."""
    before = '{"format": 1, "tests": {}, "without_calls": ["a"]}'
    (pytester.path / "tokens.json").write_text(before, encoding="utf-8")
    said = run(tests, "--token-report=tokens.json", option)
    said.stdout.fnmatch_lines(["no test was run: tokens.json is not written"])
    assert (pytester.path / "tokens.json").read_text(encoding="utf-8") == before


def test_growth_fails_the_run(run: Any) -> None:
    """A test that uses more than the baseline by more than the tolerance fails the run, though every test passed."""
    ten = spent(10, 1200, "0.00027")
    before = {"same": spent(1, 120, "0.000027"), "more": ten, "much_more": ten, "calls_now": Spent(), "gone": ten}
    write_report(Path("old.json"), {f"test_app.py::test_{name}": one for name, one in before.items()})
    now = {"same": 1, "more": 11, "much_more": 12, "calls_now": 1, "new": 1}
    tests = "\n".join(f"def test_{name}(): say({times})" for name, times in now.items())
    result = run(tests, "--token-report-baseline=old.json", "--token-tolerance=15%")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "*more tokens or cost than in the baseline*",
            "test_app.py::test_calls_now: 0 \u2192 120 tokens (from nothing)",
            "test_app.py::test_calls_now: 0 \u2192 0.000027 USD (from nothing)",
            "test_app.py::test_much_more: 1,200 \u2192 1,440 tokens (+20.0%)",
            "test_app.py::test_much_more: 0.00027 \u2192 0.000324 USD (+20.0%)",
            "not in the baseline: test_app.py::test_new",
        ]
    )
    result.stdout.no_fnmatch_line("*test_more:*")


def test_a_run_within_the_baseline_passes(run: Any) -> None:
    """The same tests use the same; a file may be baseline and report at once."""
    numbers = {"test_app.py::test_it": Spent(calls=1, input_tokens=100, output_tokens=20, total_tokens=120)}
    write_report(Path("t.json"), numbers)
    arguments = ("--token-report=t.json", "--token-report-baseline=t.json", "--token-tolerance", "0%")
    result = run('def test_it(): say(model="nobody-knows-it", provider=None)\n', *arguments)
    result.stdout.fnmatch_lines(["*1 of 1 calls have no price, 0 in the baseline: the sums cannot be compared"])
    assert run('def test_it(): say(model="nobody-knows-it", provider=None)\n', *arguments).ret == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--token-report", "test_app.py"], "*expected a file that ends with .json*"),
        (["--token-report=/dev/null/x.json"], "*/dev/null/x.json cannot be written (*)*"),
        (["--token-report=folder.json"], "*folder.json is a folder*"),
        (["--token-report-baseline", "none.json"], "*none.json cannot be read (No such file or directory)*"),
        (["--token-report", "--token-tolerance", "5"], "*the tolerance is '5'; expected a percentage, such as 10%*"),
    ],
)
def test_options_that_cannot_be_are_refused(run: Any, arguments: list[str], said: str) -> None:
    """What is wrong is said before any test runs."""
    Path("folder.json").mkdir()
    result = run("def test_it(): pass\n", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("os.mkdir('out/t.json')", "out/t.json is a folder*"),
        ("os.rmdir('out'); open('out', 'w').close()", "out/t.json cannot be written (File exists)"),
        ("os.symlink('nowhere/t.json', 'out/t.json')", "out/t.json cannot be written (No such file or directory)"),
    ],
)
def test_report_that_cannot_be_written_any_more_fails_the_run(run: Any, spoil: str, said: str) -> None:
    """What the tests did to the file's place is told at the end, after what they used, and the run fails."""
    result = run(f"import os\ndef test_it(): say(); {spoil}\n", "--token-report=out/t.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_app.py::test_it*120*", said])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_nothing_is_loaded_until_it_is_used(run: Any) -> None:
    """With the plugin there, a test that does not use it finds neither LangChain nor a database library loaded."""
    Path("test_light.py").write_text(
        "import sys\n\ndef test_it():\n"
        '    assert "langchain_tokens.pytest_plugin" in sys.modules\n'
        '    assert not {"langchain_core", "sqlmodel", "tiktoken", "typer", "orjson"} & set(sys.modules)\n',
        encoding="utf-8",
    )
    run("", "test_light.py").assert_outcomes(passed=1)


def test_entry_point_names_the_plugin() -> None:
    """Pytest finds the module that is tested here."""
    project = Path(langchain_tokens.__file__).parents[1] / "pyproject.toml"
    named = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert [hasattr(import_module(module), "pytest_runtest_setup") for module in named.values()] == [True]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (spent(), spent(), []),
        (spent(), spent(tokens=110), []),
        (spent(), spent(tokens=111), ["t: 100 \u2192 111 tokens (+11.0%)"]),
        (spent(), spent(tokens=1), []),
        (spent(cost="0.1"), spent(cost="0.2"), ["t: 0.1 \u2192 0.2 USD (+100.0%)"]),
        (spent(cost="0"), spent(cost="0.2"), ["t: 0 \u2192 0.2 USD (from nothing)"]),
        (Spent(), spent(tokens=5), ["t: 0 \u2192 5 tokens (from nothing)"]),
        (spent(tokens=None), spent(tokens=5), []),
        (spent(), Spent(), []),
        (spent(), spent(tokens=1, calls_without_usage=1), ["t: 1 of 1 calls have no usage, 0 in the baseline: the sums cannot be compared"]),
        (spent(cost="1"), spent(unpriced_calls=1), ["t: 1 of 1 calls have no price, 0 in the baseline: the sums cannot be compared"]),
        (spent(unpriced_calls=1), spent(unpriced_calls=1), []),
    ],
)  # fmt: skip
def test_growth_is_what_is_more_or_no_longer_known(before: Spent, now: Spent, said: list[str]) -> None:
    """Tokens and cost are compared where both are known; what became unknown is said, too."""
    assert list(growth({"t": before, "gone": before}, {"t": now, "new": now}, parse_tolerance("10%"))) == said


def test_a_report_can_be_read_back(tmp_path: Path) -> None:
    """What is written is read as it was, hostile names too; tests without calls are kept by name."""
    numbers = {"a[<b>\u202e\n]": spent(cost="0.000000000001", unpriced_calls=2), "b": spent(tokens=None), "c": Spent()}
    write_report(tmp_path / "r.json", numbers)
    assert read_report(tmp_path / "r.json") == numbers
    assert "\u202e" not in report_table(numbers)
    assert len(report_table(numbers).splitlines()) == 5
    assert report_table({"c": Spent()}) == ""


def test_a_long_report_shows_the_largest() -> None:
    """Fifty tests are shown, how many more there are is said, and the total is that of all."""
    lines = report_table({f"t{number}": spent(tokens=number) for number in range(1, 61)}).splitlines()
    assert len(lines) == 53
    assert lines[1].split() == ["t60", "1", "0", "\u2013", "\u2013", "60", "\u2013"]
    assert lines[-2].split()[:2] == ["total", "60"]
    assert lines[-1].startswith("10 more tests used less")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no report of tokens"),
        ("[]", "is no report"),
        ("{}", "is no report of tokens .KeyError: 'format'"),
        ('{"format": 2}', "has format 2; this version reads format 1"),
        ('{"format": 1, "tests": {"a": {"calls": 1}}, "without_calls": []}', "KeyError"),
        ('{"format": 1, "tests": {"a": 3}, "without_calls": []}', "TypeError"),
        ('{"format": 1, "tests": {}, "without_calls": 3}', "TypeError"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """What is no report is an error that says what was expected."""
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    with pytest.raises(TokensError, match=said):
        read_report(tmp_path / "r.json")


@pytest.mark.parametrize("field", ["calls", "total_tokens", "cost_usd"])
def test_a_report_with_nonsense_in_it_is_refused(tmp_path: Path, field: str) -> None:
    """Counts are whole numbers, and money is a number."""
    values = {**spent().to_plain(), field: "many"}
    (tmp_path / "r.json").write_text(json.dumps({"format": 1, "tests": {"a": values}, "without_calls": []}))
    with pytest.raises(TokensError, match="is no report"):
        read_report(tmp_path / "r.json")


@pytest.mark.parametrize("text", ["", "10", "-5%", "ten%", "1e3%"])
def test_a_tolerance_is_a_percentage(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(TokensError, match="expected a percentage"):
        parse_tolerance(text)
