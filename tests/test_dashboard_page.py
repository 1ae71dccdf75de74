from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

from langchain_tokens import Budget
from langchain_tokens.budgetstates import budget_states
from langchain_tokens.reports import findings, html_report
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from tests.dashboards import HOSTILE, SCRIPT, TOKEN, crew_calls, crew_runs, served

if TYPE_CHECKING:
    from tests.browsers import Watched

pytest_plugins = ("tests.browsers",)

ONE_CALL = """
import sys
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from datetime import UTC, datetime
store = UsageStore(parse_target(sys.argv[1]))
store.add([make_call(call_id="from-elsewhere", started_at=datetime.now(UTC), chain="elsewhere", tokens=(10, 1), cost="1")])
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    """The crew's calls in a file that other processes can open."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    calls = crew_calls()
    store.add(calls, crew_runs(calls))
    yield store
    store.close()


@pytest.fixture
def url(store: UsageStore, page: Page) -> Iterator[str]:
    """A dashboard of the test's own."""
    with shown(page, store) as url:
        yield url


@pytest.fixture(scope="module")
def shelf() -> Iterator[UsageStore]:
    """The crew's calls, for all tests that only look."""
    store = UsageStore(parse_target("sqlite://"))
    calls = crew_calls()
    store.add(calls, crew_runs(calls))
    yield store
    store._opener._engine.dispose()


@pytest.fixture(scope="module")
def desk(shelf: UsageStore) -> Iterator[str]:
    """The dashboard of all tests that only look."""
    with served(shelf) as url:
        yield url


@contextmanager
def shown(page: Page, store: UsageStore, **more: Any) -> Iterator[str]:
    """A dashboard that is served until the page has left it."""
    with served(store, **more) as url:
        yield url
        page.goto("about:blank")


def visit(page: Page, *names: str) -> Iterator[str]:
    """One page of the dashboard after another, by its links."""
    for name in names:
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        expect(page.locator("main > .view")).to_be_visible()
        ready(page)
        yield name


def ready(page: Page) -> None:
    """Wait until all numbers are there."""
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def card(page: Page, name: str) -> Locator:
    """A number with its name."""
    return page.get_by_role("group", name=name, exact=True)


def value(page: Page, name: str) -> Locator:
    return card(page, name).locator(".value")


def row(page: Page, table: str, text: str) -> Locator:
    return page.get_by_role("table", name=table, exact=True).get_by_role("row").filter(has_text=text)


def cells(line: Locator) -> list[str]:
    return [text.strip() for text in line.locator("th, td").all_inner_texts()]


def test_overview_shows_what_the_store_has(page: Page, desk: str, shelf: UsageStore) -> None:
    """Each number above the fold is the store's, and what it does not cover stands beside it."""
    page.goto(desk)
    ready(page)
    found = shelf.breakdown(since="7d/h").total
    expect(value(page, "Calls")).to_have_text(f"{found.calls:,}")
    expect(card(page, "Calls")).to_contain_text(f"{found.failed_calls} failed")
    expect(value(page, "Tokens")).to_have_text(f"{found.total_tokens:,}")
    expect(card(page, "Tokens")).to_contain_text(f"{found.input_tokens:,} in")
    expect(value(page, "Cost")).to_have_text("$0.90")
    expect(card(page, "Cost")).to_contain_text("2 calls without a price")
    expect(value(page, "Average per run")).to_have_text(f"{(found.total_tokens or 0) / 2:,.0f}")
    expect(card(page, "Average per run")).to_contain_text("$0.45 a run")
    expect(value(page, "Most expensive model")).to_have_text("gpt-4o")
    expect(value(page, "Most used model")).to_have_text("gpt-4o-mini")
    expect(value(page, "Saved by caches")).to_have_text("\u2014")
    expect(value(page, "Sessions")).to_have_text("2")
    unpriced = 630  # tokens of the call that failed
    per_thousand = Decimal("0.9") * 1000 / ((found.total_tokens or 0) - unpriced)
    expect(value(page, "Cost per 1K tokens")).to_have_text(f"${per_thousand:.4f}")
    expect(page.get_by_role("note")).to_contain_text("1 of 6 calls without complete usage")


def test_ranges_change_every_number(page: Page, desk: str, shelf: UsageStore) -> None:
    """A range's button changes the numbers, the lists and the address; a reload keeps it, Back takes it back."""
    page.goto(f"{desk}?range=custom&from=2020-01-01&to=2020-01-02")
    expect(page.get_by_text("No calls in this range")).to_be_visible()
    current = shelf.calls(session="s-new", order="started_at", limit=1)[0].started_at
    for name, since in {"Current": current, "7 days": "7d/h", "30 days": "30d/h", "All": None}.items():
        button = page.get_by_role("button", name=name, exact=True)
        button.click()
        found = shelf.breakdown("agent", since=since)
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(value(page, "Calls")).to_have_text(f"{found.total.calls:,}")
        expect(value(page, "Tokens")).to_have_text(f"{found.total.total_tokens:,}")
        expect(page.get_by_role("table", name="By agent").locator("tbody tr")).to_have_count(len(found))
    page.reload()
    expect(page.get_by_role("button", name="All", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(value(page, "Calls")).to_have_text("8")
    page.go_back()
    expect(value(page, "Calls")).to_have_text("7")


def test_custom_range_has_both_days(page: Page, desk: str, shelf: UsageStore) -> None:
    """From and to are days that both count; a range that ends before it begins is told and not asked."""
    old = shelf.calls(order="started_at", limit=1)[0].started_at
    page.goto(desk)
    page.get_by_role("button", name="Custom\u2026").click()
    page.get_by_label("From").fill(f"{old:%Y-%m-%d}")
    page.get_by_label("to", exact=True).fill(f"{old:%Y-%m-%d}")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(value(page, "Calls")).to_have_text("1")
    page.get_by_label("to", exact=True).fill("2020-01-01")
    page.get_by_role("button", name="Show", exact=True).click()
    assert f"to={old:%Y-%m-%d}" in page.url


def test_breakdowns_have_tokens_share_and_cost(page: Page, desk: str, shelf: UsageStore) -> None:
    """Each list has the store's rows; what is unknown is a dash, and a cost that leaves calls out has a star."""
    page.goto(f"{desk}?range=all")
    ready(page)
    for dimension in ("mode", "model", "agent", "chain"):
        found = shelf.breakdown(dimension)
        for each in found:
            name = str(each.key[dimension] or "(none)")
            tokens = "\u2014" if each.total_tokens is None else f"{each.total_tokens:,}"
            share = "\u2014" if each.share is None else f"{each.share * 100:.0f}\u202f%"
            says_nothing = each.cost_usd is None or (each.cost_usd == 0 and each.unpriced_calls)
            star = "*" if each.unpriced_calls else ""
            cost = "\u2014" if says_nothing else f"${each.cost_usd:.6f}{star}"
            shown_share = share if each.share is None or each.share >= 0.01 else "<1\u202f%"
            assert cells(row(page, f"By {dimension}", name).first) == [name, tokens, shown_share, cost]


def test_drill_down_to_one_call_and_back(page: Page, desk: str, shelf: UsageStore) -> None:
    """Agent, chain, model, call: each click narrows, each number is the store's, and Back steps back."""
    page.goto(desk)
    page.get_by_role("table", name="By agent").get_by_role("button", name="RAGAgent").click()
    summary = page.locator("p.summary")
    for filters, then in (
        ({"agent": "RAGAgent"}, "answer"),
        ({"agent": "RAGAgent", "chain": "answer"}, "gpt-4o"),
        ({"agent": "RAGAgent", "chain": "answer", "model": "gpt-4o"}, None),
    ):
        total = shelf.breakdown(since="7d/h", **filters).total  # type: ignore[arg-type]
        expect(summary).to_contain_text(f"{total.total_tokens:,} tokens")
        for key, name in filters.items():
            expect(page.get_by_role("button", name=f"Remove filter {key}: {name}")).to_be_visible()
        if then:
            page.get_by_role("table", name="Breakdown").get_by_role("button", name=then).click()
    page.get_by_role("table", name="Calls").locator("tbody tr").first.click()
    dialog = page.get_by_role("dialog", name="Call of answer")
    expect(dialog).to_contain_text("2,000")
    expect(dialog).to_contain_text("$0.50")
    assert "call=crew-2" in page.url
    page.go_back()
    expect(dialog).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("button", name="Remove filter model: gpt-4o")).to_be_hidden()
    page.get_by_role("button", name="Remove filter agent: RAGAgent").click()
    expect(page.get_by_role("button", name="Remove filter agent: RAGAgent")).to_be_hidden()
    expect(page.get_by_role("button", name="Remove filter chain: answer")).to_be_visible()


def test_address_is_all_that_is_shared(page: Page, desk: str) -> None:
    """Somebody else who opens the address sees the same."""
    page.goto(f"{desk}?view=explore&range=all&agent=SQLAgent&by=status&call=crew-4")
    expect(page.get_by_role("dialog")).to_contain_text("no such table")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("p.summary")).to_contain_text("2 calls")
    expect(page.get_by_role("table", name="Breakdown").get_by_role("button", name="error")).to_be_visible()


def test_an_address_that_nobody_made_is_harmless(page: Page, desk: str, watched: Watched) -> None:
    """What an address says wrongly is left out; what cannot be asked is told."""
    watched.expected = ("422",)
    page.goto(
        f"{desk}?view=constructor&range=toString&metric=valueOf&kind=x&every=constructor&by=toString&order=a&from=1"
    )
    ready(page)
    expect(value(page, "Calls")).to_have_text("6")
    page.goto(f"{desk}?view=explore&by=tag:&range=all")
    expect(page.get_by_role("alert")).to_contain_text("unknown dimension")


def test_a_filter_can_be_added(page: Page, desk: str) -> None:
    """The menu offers the names there are, tags among them."""
    page.goto(f"{desk}?view=explore&range=all")
    ready(page)
    page.get_by_role("button", name="Add filter").click()
    page.get_by_label("Dimension").select_option("tag:team")
    page.get_by_label("Value").fill("blue")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("button", name="Remove filter tag: team=blue")).to_be_visible()
    expect(page.locator("p.summary")).to_contain_text("8 calls")


def test_time_series_has_all_steps(page: Page, desk: str, shelf: UsageStore) -> None:
    """The chart says its sum, its table has the store's steps; tokens, cost and calls, bars and lines can be had."""
    page.goto(f"{desk}?range=30d&every=day")
    ready(page)
    total = shelf.breakdown(since="30d/h").total
    chart = page.get_by_role("img", name=re.compile("^Over time"))
    expect(chart).to_have_attribute("aria-label", re.compile(f"{total.total_tokens:,} in all"))
    page.get_by_text("Show as a table").click()
    lines = page.get_by_role("table", name="Over time, as a table").locator("tbody tr")
    expect(lines).to_have_count(len(shelf.timeline("day", since="30d/h")))
    bars = chart.locator("svg path").count()
    assert bars > 5
    page.get_by_role("group", name="Number").get_by_role("button", name="Cost").click()
    expect(chart).to_have_attribute("aria-label", re.compile(r"Cost by day and model: \$0\.92 in all"))
    page.get_by_role("button", name="Lines").click()
    expect(page.get_by_role("button", name="Lines")).to_have_attribute("aria-pressed", "true")
    assert "kind=line" in page.url


def test_parts_are_drawn(page: Page, desk: str) -> None:
    """Each kind of chart is drawn from what is on the page, with its names."""
    page.goto(f"{desk}?view=explore&range=all")
    chart = page.get_by_role("img", name=re.compile("^Parts"))
    for kind in ("Pie", "Sunburst", "Treemap", "Paths"):
        page.get_by_role("button", name=kind, exact=True).click()
        expect(page.get_by_role("button", name=kind, exact=True)).to_have_attribute("aria-pressed", "true")
        expect(chart.locator("svg path").nth(3)).to_be_attached()
        expect(chart.get_by_text(re.compile("^(RAGA|assi)")).first).to_be_attached()


def test_click_on_a_chart_narrows(page: Page, desk: str) -> None:
    """A slice is its name: a click on the largest filters by it."""
    page.goto(f"{desk}?view=explore&range=all")
    chart = page.get_by_role("img", name=re.compile("^Parts"))
    expect(chart.locator("svg path").nth(3)).to_be_attached()
    box = chart.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] * 0.82, box["y"] + box["height"] * 0.4)
    expect(page.get_by_role("button", name="Remove filter agent: RAGAgent")).to_be_visible()


def test_models_side_by_side(page: Page, desk: str) -> None:
    """Rates of each model, the best marked; without a price there is a dash and no zero."""
    page.goto(f"{desk}?view=models&range=7d")
    ready(page)
    table = page.get_by_role("table", name="Models")
    expect(table.locator("tbody tr")).to_have_count(2)
    assert "\u2605" in table.inner_text()
    for box in table.get_by_role("checkbox").all():
        box.check()
    expect(page.get_by_text("Each number as a part of the largest among these")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("gpt-4o: Calls 2"))).to_be_visible()


@pytest.mark.parametrize("view", ["overview", "cost", "findings"])
def test_numbers_stand_side_by_side(page: Page, desk: str, view: str) -> None:
    """On a wide screen the cards of every page fill its width, several in a row."""
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto(f"{desk}?view={view}&range=all")
    ready(page)
    first, second = (page.locator(".card").nth(place).bounding_box() for place in (0, 1))
    assert first is not None
    assert second is not None
    assert (first["y"], first["x"] < second["x"]) == (second["y"], True)


def test_cost_analysis(page: Page, desk: str) -> None:
    """Amounts, rates, what has no price, and the prices behind it."""
    page.goto(f"{desk}?view=cost&range=7d")
    ready(page)
    expect(value(page, "Cost")).to_have_text("$0.90")
    expect(value(page, "Per 1K calls")).to_have_text("$225.00")
    # Of seven days and up to an hour more.
    expect(value(page, "30 days at this rate")).to_have_text(re.compile(r"^\$3\.8[3-6]$"))
    expect(value(page, "Calls without a price")).to_have_text("2")
    expect(page.get_by_role("note")).to_contain_text("2 of 6 calls have no price")
    assert cells(row(page, "Prices", "gpt-4o-mini"))[:3] == ["gpt-4o-mini", "openai", "$0.15"]
    costs = [cells(line)[3] for line in page.get_by_role("table", name="By chain").locator("tbody tr").all()]
    assert costs == ["$0.500000", "$0.250000", "$0.100000*", "$0.050000", "\u2014"]


def test_a_run_shows_what_fills_its_inputs(page: Page, url: str, store: UsageStore) -> None:
    """Shares by chain, of the calls that were inspected; a run without such calls has no such table."""
    many = {"system": 60, "tools": 20, "human": 20}
    inspected = [make_call(run_id="run-inspected", chain="plan", tokens=(100, 1), input_parts=many) for _ in range(2)]
    others = [
        make_call(run_id="run-inspected", chain="answer", tokens=(10, 1), input_parts={"history": 10}),
        make_call(run_id="run-inspected", chain="answer", tokens=(99, 1)),
        make_call(run_id="run-plain", chain="plan"),
    ]
    store.add([*inspected, *others], [make_fact(name) for name in ("run-inspected", "run-plain")])
    page.goto(f"{url}?view=runs&id=run-inspected&range=all")
    ready(page)
    shown = row(page, "What fills the inputs", "plan")
    expect(shown.get_by_role("cell")).to_have_text(
        ["2", "200", "60\u202f%", "20\u202f%", "0\u202f%", "0\u202f%", "20\u202f%", "0\u202f%"]
    )
    expect(row(page, "What fills the inputs", "answer")).to_contain_text("100\u202f%")
    page.get_by_role("table", name="Calls of this run").get_by_role("row").filter(has_text="plan").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("~ system 60, tools 20, human 20")
    page.goto(f"{url}?view=runs&id=run-plain&range=all")
    ready(page)
    expect(page.get_by_role("table", name="Calls of this run")).to_be_visible()
    expect(page.get_by_role("table", name="What fills the inputs")).to_be_hidden()


def test_runs_then_a_run_then_a_call(page: Page, desk: str, shelf: UsageStore) -> None:
    """The list has the stored totals; a run has its tree with own and inclusive sums, and its calls."""
    page.goto(f"{desk}?view=runs&range=all")
    ready(page)
    expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(len(shelf.runs()))
    run = next(run for run in shelf.runs() if run.run_id.startswith("run-rag"))
    page.get_by_role("table", name="Runs").locator("tbody tr").filter(has_text=f"{run.total.total_tokens:,}").click()
    expect(value(page, "Calls")).to_have_text("4")
    for _, node in run.tree().walk():
        if node.subtree.total_tokens is not None and node.name:
            assert f"{node.subtree.total_tokens:,}" in cells(row(page, "Places", node.name).first)
    page.get_by_role("table", name="Calls of this run").get_by_role("row").filter(has_text="search").click()
    expect(page.get_by_role("dialog")).to_contain_text("from cache 1,000")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("table", name="Runs")).to_be_visible()


def test_budgets_and_what_is_left(page: Page, shelf: UsageStore) -> None:
    """Each account has what it spent, its limit and what is left; one that is over says so."""
    budgets = [Budget(limit_usd="2", name="team"), Budget(limit_tokens=5_000, per="agent", name="each agent")]
    with shown(page, shelf, budgets=budgets) as url:
        page.goto(f"{url}?view=budgets")
        ready(page)
        assert cells(row(page, "Budgets", "team"))[2:5] == ["47\u202f%", "$0.93", "$2.00"]
        for state in budget_states(shelf, budgets[1:]):
            line = cells(row(page, "Budgets", state.label).first)
            assert line[3:5] == [f"{state.spent:,}", "5,000 tokens"]
            assert ("reached" in line) is state.is_exceeded
    with shown(page, shelf) as url:
        page.goto(f"{url}?view=budgets")
        expect(page.get_by_text("There are no budgets")).to_be_visible()


def test_findings(page: Page, desk: str, shelf: UsageStore) -> None:
    """What was in vain is summed up and listed with what mends it; a click shows the calls."""
    page.goto(f"{desk}?view=findings&range=all")
    ready(page)
    found = findings(shelf)
    expect(value(page, "Calls in vain")).to_have_text(f"{found.total_wasted.calls:,}")
    expect(value(page, "Tokens in vain")).to_have_text(f"{found.total_wasted.tokens:,}")
    lines = page.get_by_role("table", name="In vain").locator("tbody tr")
    expect(lines).to_have_count(sum(row.is_waste for row in found))
    expect(lines.first).to_contain_text("see why")
    lines.first.click()
    expect(page.get_by_role("button", name="Remove filter chain: query")).to_be_visible()


def test_export_has_what_is_filtered(page: Page, desk: str, shelf: UsageStore) -> None:
    """The file that a click saves has the calls that the page counts, with their cost."""
    page.goto(f"{desk}?view=data&range=all&agent=RAGAgent")
    ready(page)
    total = shelf.breakdown(agent="RAGAgent").total
    readers: dict[str, Any] = {
        "CSV": lambda text: list(csv.DictReader(text.splitlines())),
        "JSON": lambda text: json.loads(text)["calls"],
        "JSON Lines": lambda text: [json.loads(line) for line in text.splitlines()],
    }
    for kind, read in readers.items():
        with page.expect_download() as saved:
            page.get_by_role("link", name=f"Export {kind}", exact=True).click()
        rows = read(saved.value.path().read_text(encoding="utf-8"))
        assert len(rows) == total.calls == 2
        assert sum(Decimal(each["cost_usd"]) for each in rows) == total.cost_usd


def test_clear_history_names_what_goes(page: Page, url: str, store: UsageStore) -> None:
    """What goes is named; Cancel, Escape and another word delete nothing; then exactly that is gone."""
    page.goto(f"{url}?view=data&range=all&session=s-old")
    ready(page)
    for leave in ("Cancel", "Escape"):
        page.get_by_role("button", name="Clear history").click()
        dialog = page.get_by_role("dialog", name="Clear history")
        expect(dialog).to_contain_text("4 calls with session s-old")
        expect(dialog).to_contain_text("$0.13")
        expect(dialog.get_by_role("button", name="Delete 4 calls")).to_be_disabled()
        dialog.get_by_label("Type").fill("remove")
        expect(dialog.get_by_role("button", name="Delete 4 calls")).to_be_disabled()
        if leave == "Cancel":
            dialog.get_by_role("button", name="Cancel").click()
        else:
            page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    assert store.breakdown().total.calls == 8
    page.get_by_role("button", name="Clear history").click()
    page.get_by_label("Type").fill("delete")
    page.get_by_role("button", name="Delete 4 calls").click()
    expect(page.locator("#said")).to_have_text("4 calls deleted.")
    assert {call.session for call in store.calls()} == {"s-new"}


def test_a_read_only_page_offers_no_deletion(page: Page, store: UsageStore) -> None:
    """Who only reads is not offered what would be refused."""
    with shown(page, store, read_only=True) as url:
        page.goto(f"{url}?view=data")
        ready(page)
        expect(page.get_by_role("link", name="Export CSV")).to_be_visible()
        expect(page.get_by_role("button", name="Clear history")).to_be_hidden()


def test_a_call_of_another_process_appears(page: Page, url: str, store: UsageStore) -> None:
    """Numbers, lists and the newest call change on the open page, without a reload."""
    page.goto(url)
    ready(page)
    expect(page.locator("#live")).to_have_text("live")
    expect(value(page, "Calls")).to_have_text("6")
    page.evaluate("window.isSame = true")
    subprocess.run([sys.executable, "-c", ONE_CALL, str(store.target.path)], check=True)
    expect(value(page, "Calls")).to_have_text("7")
    expect(value(page, "Cost")).to_have_text("$1.90")
    expect(page.get_by_role("table", name="Latest calls").locator("tbody tr").first).to_contain_text("elsewhere")
    expect(page.get_by_role("table", name="By chain")).to_contain_text("elsewhere")
    assert page.evaluate("window.isSame") is True


def test_the_page_finds_the_server_again(page: Page, store: UsageStore, watched: Watched) -> None:
    """A server that stops is told, and one that comes back is live again, with what happened meanwhile."""
    watched.expected = ("ERR_CONNECTION_REFUSED", "WebSocket connection")
    with served(store) as url:
        page.goto(url)
        ready(page)
        expect(page.locator("#live")).to_have_text("live")
        expect(value(page, "Calls")).to_have_text("6")  # the page has all of its parts
    expect(page.locator("#live")).to_have_text("reconnecting")
    store.add([make_call(started_at=store.calls(limit=1)[0].started_at)])
    with shown(page, store, port=int(url.rsplit(":", 1)[1].strip("/"))):
        expect(page.locator("#live")).to_have_text("live")
        expect(value(page, "Calls")).to_have_text("7")


def test_hostile_names_stay_text(page: Page, desk: str) -> None:
    """A name that is a program is shown as it is, on every page, in lists, charts, chips, dialogs and titles."""
    page.goto(desk)
    for _ in visit(page, *PAGES, "Explore"):
        assert "broken" not in page.title()
    for kind in ("Treemap", "Paths", "Sunburst"):
        page.get_by_role("button", name=kind, exact=True).click()
        ready(page)
    page.get_by_role("table", name="Breakdown").get_by_role("button", name=HOSTILE).click()
    expect(page.get_by_role("button", name=f"Remove filter agent: {HOSTILE}")).to_be_visible()
    page.get_by_role("table", name="Calls").locator("tbody tr").first.click()
    expect(page.get_by_role("dialog", name=f"Call of {SCRIPT}")).to_be_visible()
    assert page.title() == "Explore \u00b7 Token usage"
    assert page.locator("main img, dialog img, main script").count() == 0


def test_login(page: Page, store: UsageStore, watched: Watched) -> None:
    """The token opens the page, stays out of the address, and logging out closes it."""
    watched.expected = ("401",)
    with shown(page, store, token=TOKEN) as url:
        page.goto(url)
        page.get_by_label("Token", exact=True).fill("a-wrong-token-of-some-length")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("this is not the token")
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(value(page, "Calls")).to_have_text("6")
        assert page.url == url
        expect(page.locator("#live")).to_have_text("live")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token", exact=True)).to_be_visible()


def test_login_by_the_printed_link(page: Page, store: UsageStore, watched: Watched) -> None:
    """The link of the terminal opens the page; what is behind its # is gone from the address and was never sent."""
    sent: list[str] = []
    watched.expected = ("401",)
    page.on("request", lambda request: sent.append(request.url))
    with shown(page, store, token=TOKEN) as url:
        page.goto(f"{url}login#{TOKEN}")
        expect(value(page, "Calls")).to_have_text("6")
        assert page.url == url
        assert not [address for address in sent if TOKEN in address.split("#")[0]]


def test_keyboard_alone(page: Page, desk: str) -> None:
    """A row opens with Enter and stays open, Escape closes it, and the focus is where it was."""
    page.goto(desk)
    ready(page)
    line = page.get_by_role("table", name="Latest calls").locator("tbody tr").nth(2)
    line.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(line).to_be_focused()
    expect(page).not_to_have_url(re.compile("call="))


def test_theme_is_kept(page: Page, desk: str) -> None:
    """The button turns the theme round, and a reload keeps it."""
    page.goto(desk)
    ready(page)
    page.get_by_role("button", name="Theme").click()
    page.reload()
    ready(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 18, 25)"


PAGES = ("Overview", "Explore", "Models", "Cost", "Runs", "Sessions", "Budgets", "Findings", "Data")


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_nothing_is_wider_than_a_phone(page: Page, desk: str) -> None:
    """No page scrolls sideways as a whole, on a phone and on a tablet."""
    page.goto(desk)
    for name in visit(page, *PAGES):
        for width in (360, 768):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name


def test_no_page_shows_what_programs_say(page: Page, desk: str) -> None:
    """Nowhere stands undefined, NaN, null or [object: what is not known is a dash."""
    page.goto(f"{desk}?range=all")
    for name in visit(page, *PAGES):
        text = page.locator("body").inner_text()
        assert not re.search(r"\bundefined\b|\bNaN\b|\bnull\b|\[object|Infinity", text), name
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_role("heading", name="GET /api/v1/breakdown")).to_be_visible()


def test_an_empty_database_says_how_to_begin(page: Page) -> None:
    """Without calls there is a line that makes some; in a range without any, a way out."""
    store = UsageStore(parse_target("sqlite://"))
    with shown(page, store) as url:
        page.goto(url)
        expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
        for name in visit(page, *PAGES):
            assert page.get_by_role("alert").count() == 0, name
        store.add([make_call()])
        page.goto(f"{url}?agent=nobody&range=all")
        page.get_by_role("button", name="Remove all filters").click()
        expect(value(page, "Calls")).to_have_text("1")
    store._opener._engine.dispose()


def test_first_page_is_small(page: Page, desk: str) -> None:
    """Everything that the first page needs is under 300 KB on the way."""
    page.goto(desk)
    ready(page)
    sizes = page.evaluate("performance.getEntries().filter((e) => e.transferSize).map((e) => [e.name, e.transferSize])")
    assert 200_000 < sum(size for _, size in sizes) < 300_000
    assert len(sizes) < 26


def test_many_pages_at_once(page: Page, url: str, store: UsageStore) -> None:
    """Eight open pages all load, and all hear of a new call."""
    pages = [page, *(page.context.new_page() for _ in range(7))]
    for each in pages:
        each.goto(url)
    for each in pages:
        expect(each.locator("#live")).to_have_text("live")
    store.add([make_call(started_at=store.calls(limit=1)[0].started_at)])
    for each in pages:
        expect(value(each, "Calls")).to_have_text("7")


def test_report_of_one_file(page: Page, shelf: UsageStore, tmp_path: Path) -> None:
    """A report opens from the disk without any network, draws its charts, and has the store's numbers as text."""
    file = tmp_path / "report.html"
    file.write_text(html_report(shelf, title=SCRIPT), encoding="utf-8")
    page.context.set_offline(True)
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", name=SCRIPT)).to_be_visible()
    for name in ("Tokens over time", "Cost over time", "Cost by model", "Tokens by agent"):
        expect(page.get_by_role("img", name=re.compile(f"^{name}")).locator("svg path").nth(2)).to_be_attached()
    total = shelf.breakdown().total
    expect(page.locator("dl.cards")).to_contain_text(f"{total.total_tokens:,}")
    expect(page.locator("main")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0


def test_report_says_what_its_tables_leave_out() -> None:
    """A table has the 20 largest names; where there are more, it says how many calls are in the others."""
    store = UsageStore(parse_target("sqlite://"))
    store.add([make_call(chain=f"chain {number}", model="m") for number in range(23)])
    assert re.findall(r"<p class=hint>(\d+ of [^<]*)</p>", html_report(store)) == [
        "3 of 23 calls are in rows beyond the limit"
    ]


def test_accessible(page: Page, desk: str) -> None:
    """No page breaks a rule that axe checks (WCAG 2.1 A and AA), in light and in dark."""
    script = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(f"{desk}?range=all")
        for name in visit(page, *PAGES):
            page.evaluate(script)
            found = page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] })")
            told = [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found["violations"]]
            assert told == [], (scheme, name)


@pytest.fixture(scope="module")
def gaps() -> Iterator[str]:
    """The dashboard of a model of whose calls some know no duration, usage or price."""
    store = UsageStore(parse_target("sqlite://"))
    model: dict[str, Any] = {
        "model": "slow-model",
        "provider": "p",
        "chain": "some_chain",
        "started_at": datetime.now(UTC),
    }
    store.add(
        [
            make_call(**model, tokens=(600, 400), cost="0.5", duration_ms=2_000.0),
            make_call(**model, tokens=(600, 400), duration_ms=4_000.0),
            *[make_call(**model, tokens=None, duration_ms=None, status="error") for _ in range(6)],
            make_call(**{**model, "started_at": datetime.now(UTC) - timedelta(days=2)}, tokens=None),
        ]
    )
    with served(store) as url:
        yield url
    store._opener._engine.dispose()


def by_heading(page: Page, table: str, text: str) -> dict[str, str]:
    """The cells of a row by the headings above them."""
    headings = page.get_by_role("table", name=table, exact=True).locator("thead th").all_inner_texts()
    return dict(zip((each.strip() for each in headings), cells(row(page, table, text).first), strict=True))


def test_means_leave_out_calls_that_do_not_know(page: Page, gaps: str) -> None:
    """Calls without a duration, usage or price make no model look faster, smaller or cheaper."""
    page.goto(f"{gaps}?view=models&range=7d")
    ready(page)
    found = by_heading(page, "Models", "slow-model")
    assert {name: found[name] for name in ("Mean time", "Tokens a call", "Output a call")} == {
        "Mean time": "3.0 s",
        "Tokens a call": "1,000",
        "Output a call": "400",
    }
    assert (found["Cost of 1K calls"], found["Cost of 1M tokens"]) == ("$500.00", "$500.00")
    page.goto(f"{gaps}?view=explore&by=chain&range=7d")
    ready(page)
    assert by_heading(page, "Breakdown", "some_chain")["Mean time"] == "3.0 s"
    assert by_heading(page, "Breakdown", "total")["Mean time"] == "3.0 s"
    page.goto(f"{gaps}?view=cost&range=7d")
    ready(page)
    expect(value(page, "Per 1K tokens")).to_have_text("$0.50")


def test_course_shows_what_it_does_not_cover(page: Page, gaps: str) -> None:
    """A step whose cost leaves calls out has a star; where nobody knows it, a line has a gap and is not at zero."""
    page.goto(f"{gaps}?range=7d&every=day&by=none&metric=cost_usd&kind=line")
    ready(page)
    page.get_by_text("Show as a table").click()
    lines = page.get_by_role("table", name="Over time, as a table").locator("tbody tr")
    assert [cells(line)[3] for line in lines.all()] == ["$0.500000*", "\u2014"]
    chart = page.get_by_role("img", name=re.compile("^Over time"))
    drawn = chart.locator("svg path[stroke-width='2']")
    assert drawn.evaluate_all("(paths) => paths.map((path) => path.getAttribute('d').split('M').length - 1)") == [2]
