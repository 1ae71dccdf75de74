"""What did the tests use? A fixture, a marker and a report for pytest, which cost nothing where nobody uses them.

pytest loads this module by itself wherever the package is installed, so it imports nothing of weight: LangChain is
loaded when the first test is watched. `-p no:langchain_tokens` leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from langchain_tokens.errors import TokensError
from langchain_tokens.testreport import (
    Spent,
    growth,
    parse_tolerance,
    read_report,
    report_table,
    require_place,
    write_report,
)

if TYPE_CHECKING:
    from langchain_tokens.testing.limits import Limits
    from langchain_tokens.testing.observing import ObservedRun

__all__ = ("token_usage",)

Value = TypeVar("Value")
_MARKER = "token_budget"
_STACK: Final[pytest.StashKey[ExitStack]] = pytest.StashKey()
_RUN: Final[pytest.StashKey[ObservedRun]] = pytest.StashKey()
_SPENT: Final[pytest.StashKey[Spent]] = pytest.StashKey()
_LIMITS: Final[pytest.StashKey[Limits]] = pytest.StashKey()
_REPORT: Final[pytest.StashKey[_Report]] = pytest.StashKey()
_PLUGIN = "langchain_tokens_report"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the report."""
    group = parser.getgroup("tokens", "tokens and cost of calls to language models")
    group.addoption(
        "--token-report",
        nargs="?",
        const="",
        metavar="FILE.json",
        help="show what each test used at the end, and write it to a file",
    )
    group.addoption(
        "--token-report-baseline",
        metavar="FILE.json",
        help="fail if a test uses more than in this file, which an earlier --token-report=FILE.json wrote",
    )
    group.addoption(
        "--token-tolerance",
        default="10%",
        metavar="PERCENT",
        help="how much more a test may use than in the baseline (default: 10%%)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the report if it is asked for."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(max_calls=, max_total_tokens=, max_cost_usd=, ...): fail the test if it uses more; "
        "arguments as of langchain_tokens.testing.assert_usage",
    )
    file, baseline = config.getoption("--token-report"), config.getoption("--token-report-baseline")
    if file is None and baseline is None:
        return
    if file and not file.endswith(".json"):
        raise pytest.UsageError(f"--token-report={file}: expected a file that ends with .json, or --token-report alone")
    is_worker = hasattr(config, "workerinput")  # under xdist they watch, and the one that started them reports
    try:
        tolerance = parse_tolerance(config.getoption("--token-tolerance"))
        before = None if baseline is None else read_report(Path(baseline))
        if file and not is_worker:
            require_place(Path(file))
    except TokensError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_REPORT] = _Report(Path(file) if file else None, before, tolerance)
    if not is_worker:
        config.pluginmanager.register(config.stash[_REPORT], _PLUGIN)


@pytest.fixture
def token_usage(request: pytest.FixtureRequest) -> ObservedRun:
    """What this test uses: a live `Run` of all its calls, with `assert_usage(max_calls=…, max_cost_usd=…, …)`.

    It sees every call that is made during the test, in whatever thread or task, whichever handlers the code has.
    """
    item: pytest.Item = request.node
    return item.stash[_RUN] if _RUN in item.stash else _watch(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Watch a test from its fixtures on, if somebody wants to know what it uses."""
    markers = list(item.iter_markers(_MARKER))
    if markers or _REPORT in item.config.stash or "token_usage" in getattr(item, "fixturenames", ()):
        _watch(item)
    result = yield
    if markers:
        item.stash[_LIMITS] = _limits(markers)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Hold a test that passed to its budget."""
    result = yield
    if _LIMITS in item.stash:
        from langchain_tokens.testing.limits import hold

        _or_fail(lambda: hold(item.stash[_RUN], item.stash[_LIMITS]))
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Look away when the last fixture has ended, and keep no more than the numbers."""
    try:
        return (yield)
    finally:
        if _STACK in item.stash:
            item.stash[_STACK].close()
            item.stash[_SPENT] = Spent.of(item.stash[_RUN].total)
            del item.stash[_STACK], item.stash[_RUN]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the numbers to the test's last report, which carries them from a worker of xdist to who reports."""
    report = yield
    if call.when == "teardown" and _REPORT in item.config.stash and _SPENT in item.stash:
        report.token_usage = item.stash[_SPENT].to_plain()  # type: ignore[attr-defined]  # the report takes and sends it
    return report


class _Report:
    """Gathers what the tests used, shows and writes it, and holds it against the baseline."""

    def __init__(self, file: Path | None, before: dict[str, Spent] | None, tolerance: Decimal) -> None:
        self._file = file
        self._before = before
        self._tolerance = tolerance
        self._spent: dict[str, Spent] = {}
        self._skipped: set[str] = set()
        self._unwritten: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test used; of one that was run again, what it used last, and nothing of one that was skipped."""
        is_whole = type(report) is pytest.TestReport  # that of a part (`subtests`, `subTest`) has the test's name, too
        if is_whole and report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.add(report.nodeid)
        values = getattr(report, "token_usage", None)
        if values is not None and report.nodeid not in self._skipped:
            self._spent[report.nodeid] = Spent.from_plain(values)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the file, and fail the run where that cannot be done, or a test uses more than before.

        Where no test was run, such as with `--collect-only`, a file of an earlier run stays: it may be a baseline.
        """
        try:
            if self._file is not None and self._spent:
                write_report(self._file, self._spent)
        except TokensError as error:
            self._unwritten = str(error)
        if exitstatus == pytest.ExitCode.OK and (self._unwritten is not None or any(self._grown())):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what each test used, and what grew."""
        terminalreporter.section("tokens")
        terminalreporter.write_line(report_table(self._spent) or "no test called a model")
        if self._unwritten is not None:
            terminalreporter.write_line(self._unwritten, red=True)
        elif self._file is not None:
            said = f"written to {self._file}" if self._spent else f"no test was run: {self._file} is not written"
            terminalreporter.write_line(said)
        if self._before is None:
            return
        grown = list(self._grown())
        terminalreporter.section("more tokens or cost than in the baseline" if grown else "within the baseline")
        for line in grown:
            terminalreporter.write_line(line, red=True)
        new = [test for test, one in sorted(self._spent.items()) if one.calls and test not in self._before]
        for test in new:
            terminalreporter.write_line(f"not in the baseline: {test}")

    def _grown(self) -> Iterator[str]:
        return growth(self._before or {}, self._spent, self._tolerance)


def _limits(markers: Sequence[pytest.Mark]) -> Limits:
    """The limits of a test's markers, the closest of which stands first and wins."""
    from langchain_tokens.testing.limits import make_limits

    for marker in markers:
        if marker.args:
            pytest.fail(f"{_MARKER} takes limits by name, such as max_calls=3; found {marker.args!r}", pytrace=False)
    given = {name: value for marker in reversed(markers) for name, value in marker.kwargs.items()}
    return _or_fail(lambda: make_limits(given))


def _or_fail(step: Callable[[], Value]) -> Value:
    """Do something; what is wrong is what pytest shows, without the way through this module."""
    try:
        return step()
    except (AssertionError, TokensError) as error:
        said = str(error)
    pytest.fail(f"{_MARKER}: {said}", pytrace=False)


def _watch(item: pytest.Item) -> ObservedRun:
    from langchain_tokens.testing.observing import observe

    stack = item.stash.setdefault(_STACK, ExitStack())
    item.stash[_RUN] = stack.enter_context(observe(item.name))
    return item.stash[_RUN]
