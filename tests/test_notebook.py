"""What does a notebook show? Tables with bars, trees, charts and overviews: plain HTML, in which names stay text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from langchain_tokens import TokenUsageHandler, UsageStore, open_store
from langchain_tokens.breakdown import Breakdown, aggregate
from langchain_tokens.call import Call
from langchain_tokens.charts import Column, column_chart, slot_of
from langchain_tokens.paths import join_path
from langchain_tokens.query import make_query
from langchain_tokens.render import clean
from langchain_tokens.run import FixedRun, Run
from tests.builders import NOON, make_call, make_fact, screen_calls

pytest_plugins = ("tests.databases",)

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</style></td></table><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "\u202egnp.exe",
    "\u05e2\u05d1\u05e8\u05d9\u05ea (x)",
    "x" * 300,
    "\U0001f469\u200d\U0001f4bb",
    "line\nfeed",
    "&lt;b&gt; &amp;",
    "a/b",
)
TAGS = frozenset({"table", "thead", "tbody", "tr", "th", "td", "p", "div", "span", "strong", "details", "summary"})
CHARTS = frozenset({"svg", "title", "desc", "rect", "line", "text"})


class Page(HTMLParser):
    """What a browser makes of a piece of HTML: its tags, its attributes and its text."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(written)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def by(calls: Sequence[Call], *dimensions: str) -> Breakdown:
    return aggregate(calls, make_query(dimensions))


def run_of(calls: Sequence[Call], **facts: Any) -> Run:
    return Run(FixedRun(make_fact(**facts), calls))


def named(name: str) -> Call:
    """A call all of whose names are one."""
    return make_call(chain=name, agent=name, model=name, path=join_path(["root", name]), error_message=name)


SHOWN: dict[str, Callable[[str], Any]] = {
    "breakdown": lambda name: by([named(name)], "chain", "agent"),
    "run": lambda name: run_of([named(name)], name=name, session=name, status="error", error_message=name),
    "tree": lambda name: run_of([named(name)], name="root").tree(),
}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("kind", SHOWN)
def test_names_stay_text(kind: str, name: str) -> None:
    """Whatever a name holds, the page has our own tags and attributes only, all closed, and the name to read."""
    page = Page(SHOWN[kind](name)._repr_html_())
    assert set(page.tags) <= TAGS
    assert page.open == []
    assert {attribute for attribute, _ in page.attributes} <= {"class", "style", "aria-hidden"}
    assert clean(name) in page.texts


@pytest.mark.parametrize("kind", SHOWN)
def test_nothing_is_needed_from_outside(kind: str) -> None:
    """There is no script, style sheet or reference, our classes are our own, and text has the page's own colour."""
    page = Page(SHOWN[kind]("chain")._repr_html_())
    assert {value for name, value in page.attributes if name == "class" and not value.startswith("lt-")} == set()
    styles = [value for name, value in page.attributes if name == "style"]
    assert not any("url(" in style or re.search(r"(^|;)color:", style) for style in styles)


def test_bars_are_as_long_as_shares() -> None:
    """Each row's bar is its share of the whole, the total has none, and an unknown share is no bar."""
    calls = [make_call(chain="a", tokens=(300, 0)), make_call(chain="b", tokens=(100, 0)), make_call(tokens=None)]
    written = by(calls, "chain")._repr_html_()
    cells = re.findall(r'<td class="lt-bar".*?</td>', written)
    assert [re.findall(r"width:([\d.]+)em;background", cell) for cell in cells] == [["6.00"], ["2.00"], []]
    assert written.rindex(">total<") > written.index(cells[-1])


def test_tree_marks_what_went_wrong_where_it_did() -> None:
    """A place names its own failed, estimated, unpriced and unknown calls; its bar has its own part and all below."""
    calls = [
        make_call(path="run/a", tokens=(60, 0), cost="1"),
        make_call(path="run/a/b", tokens=(40, 0), status="error", usage_source="estimated"),
        make_call(path="run/c", tokens=None, cost="1"),
    ]
    written = run_of(calls, name="run")._repr_html_()
    rows = re.findall(r"<tr>.*?</tr>", written)
    names = [Page(row).texts[0] for row in rows]
    bars = [re.findall(r"width:([\d.]+)em;background", row) for row in rows]
    marks = [re.findall(r">([^<]*(?:failed|estimated|unpriced|without usage))<", row) for row in rows]
    assert names == ["run", "a", "b", "c"]
    assert bars == [["8.00"], ["4.80", "3.20"], ["3.20"], []]
    assert marks == [[], [], ["1 failed, 1 estimated, 1 unpriced"], ["1 without usage"]]
    assert re.findall(r"padding-left:([\d.]+)em", written) == ["1.8", "3.0", "1.8"]


def test_run_says_its_facts() -> None:
    """A run shows name, session, status, duration, calls, tokens, cost and what went wrong."""
    calls = [*screen_calls(), make_call(status="error", tokens=None)]
    facts, _ = run_of(calls, session="s1", status="error", error_message="boom")._repr_html_().split("<table")
    texts = Page(facts.rstrip()).texts
    said = dict(zip(texts[1::2], texts[2::2], strict=False))
    assert texts[0] == "unnamed run"
    assert (said["run"], said["session"], said["status"], said["duration"]) == (" run-1", " s1", " error", " 2.00 s")
    assert (said["calls"], said["tokens"], said["cost"], said["error"]) == (
        " 5 (1 failed)",
        " 2,072 (2,000 in, 72 out)",
        " 0.000168 USD",
        " boom",
    )


def test_a_notebook_without_html_shows_text() -> None:
    """Both forms are offered: the table as text for a terminal, as HTML for a page."""
    rows, run = by(screen_calls(), "chain"), run_of(screen_calls())
    assert rows._repr_mimebundle_(include=None, exclude=None) == {
        "text/plain": str(rows),
        "text/html": rows._repr_html_(),
    }
    assert run._repr_mimebundle_() == {"text/plain": run.summary(), "text/html": run._repr_html_()}


@pytest.mark.parametrize(
    ("period", "apart", "other"),
    [
        ("2026-11-20", 1, "2026-11-21"),
        ("2026-12-31", 1, "2027-01-01"),
        ("2026-11", 2, "2027-01"),
        ("2026-11-20T23:00Z", 1, "2026-11-21T00:00Z"),
        ("2026-10-25T02:00+02:00", 1, "2026-10-25T02:00+01:00"),
        ("2026-10-25T02:00+01:00", 1, "2026-10-25T03:00+01:00"),
        ("2026-03-29T01:00+01:00", 1, "2026-03-29T03:00+02:00"),
        ("2026-W53", 1, "2027-W01"),
    ],
)
def test_periods_stand_apart_as_they_are(period: str, apart: int, other: str) -> None:
    """Hours, days, weeks and months are counted without a gap at the end of a day, month or year, or where clocks change."""
    assert slot_of(other) - slot_of(period) == apart


def drawn(written: str) -> list[tuple[float, float, bool]]:
    """Of each column its place from the left, its height, and whether it is filled."""
    shapes = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)" fill="(\S+)"', written)
    return [(float(x), float(height), fill != "none") for x, height, fill in shapes]


def test_time_is_drawn_as_it_passed() -> None:
    """Columns stand where their day is, days without calls stay empty, and unknown tokens are an outline."""
    days = ((0, (100, 0)), (1, (50, 0)), (4, None))
    calls = [make_call(started_at=NOON + timedelta(days=day), tokens=tokens) for day, tokens in days]
    written = by(calls, "day")._repr_html_()
    places = drawn(written)
    room = 720 / 5
    assert [(round(x // room), height, is_known) for x, height, is_known in places] == [
        (0, 96.0, True),
        (1, 48.0, True),
        (4, 96.0, False),
    ]
    page = Page(written)
    assert set(page.tags) <= TAGS | CHARTS
    assert ("role", "img") in page.attributes
    assert "tokens by day" in page.texts
    assert "2026-11-20 to 2026-11-24; most: 100 (2026-11-20)" in page.texts
    assert "2026-11-24: \u2013" in page.texts


def test_cost_has_a_chart_of_its_own() -> None:
    """Where some cost is known, it is drawn too; split by another dimension, a period is the sum of its rows."""
    days = [(0, "a", "0.1"), (0, "b", "0.2"), (1, "a", "0.6")]
    calls = [make_call(started_at=NOON + timedelta(days=day), chain=name, cost=cost) for day, name, cost in days]
    written = by(calls, "day", "chain")._repr_html_()
    assert written.count("<svg") == 2
    assert [height for _, height, _ in drawn(written)] == [96, 48, 48, 96]
    assert "cost USD by day; most: 0.600000 (2026-11-21)" in written


@pytest.mark.parametrize("dimensions", [("chain",), ("chain", "day"), ("day",), ()])
def test_nothing_is_drawn_without_a_course(dimensions: tuple[str, ...]) -> None:
    """One day is no course, and neither are chains."""
    assert "<svg" not in by(screen_calls(), *dimensions)._repr_html_()
    assert "<svg" not in by([], *dimensions)._repr_html_()


def test_long_courses_are_drawn_together() -> None:
    """A year of days is drawn in at most 240 columns, which say how many days are in each, and lose nothing."""
    columns = [Column(slot=day, label=f"d{day}", value=1) for day in range(365)]
    written = column_chart("calls", columns, str)
    assert "<title>calls, 2 in a column</title>" in written
    tips = re.findall(r"<title>d\d+(?: to d\d+)?: (\d+)</title>", written)
    assert (len(tips), sum(map(int, tips))) == (183, 365)


def test_what_costs_nothing_is_a_flat_line() -> None:
    """Columns that are all zero have no height."""
    columns = [Column(slot=day, label=str(day), value=Decimal(0)) for day in range(2)]
    assert [height for _, height, _ in drawn(column_chart("cost", columns, str))] == [0, 0]


def test_tables_are_short_enough_to_read() -> None:
    """A notebook shows 200 rows, says how many more there are, and the total is that of all."""
    rows = by([make_call(chain=f"c{number}") for number in range(250)], "chain")
    page = Page(rows._repr_html_())
    assert page.tags.count("tr") == 202
    assert "50 more rows; to_records(), to_csv() and to_pandas() have all of them" in page.texts
    assert page.texts[len(page.texts) - page.texts[::-1].index("total")] == "250"
    assert len(str(rows).splitlines()) > 250


def test_handler_and_store_show_an_overview(memory_store: UsageStore) -> None:
    """A handler shows what it saw; a store what it has, and the last days."""
    with TokenUsageHandler(memory_store, journal=False) as handler:
        for _ in range(2):
            handler.record({"prompt_tokens": 5, "completion_tokens": 1}, chain="<b>", model="gpt-4o-mini")
        pages = [Page(value._repr_html_()) for value in (handler, handler.store)]
    for page in pages:
        assert set(page.tags) <= TAGS
        assert "<b>" in page.texts
        assert " 12 (10 in, 2 out)" in page.texts
    assert ["details" in page.tags for page in pages] == [False, True]


def test_a_store_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """An overview shows the error in the place of the numbers, and escapes it."""
    store = open_store(tmp_path / "tokens.db")
    store.close()
    (tmp_path / "tokens.db").write_text("this is no database, but <b>text</b> " * 100, encoding="utf-8")
    page = Page(store._repr_html_())
    assert "cannot be read:" in page.texts
    assert "not a database" in page.texts[-1]
    assert set(page.tags) <= TAGS
