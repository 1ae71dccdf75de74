from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

from langchain_tokens.dashboard import offers
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call, make_fact
from tests.dashboards import doomed, make_client, served

if TYPE_CHECKING:
    from tests.browsers import Watched

pytest_plugins = ("tests.browsers",)

PAGES = ("overview", "explore", "models", "cost", "runs", "budgets", "findings", "data")
GONE = ("net::ERR_", "WebSocket connection", "dynamically imported module", "does not answer")
"""What a browser complains of when a server stops."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UsageStore]:
    """A store in a file with a call of now."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    store.add([make_call(started_at=datetime.now(UTC), cost="1")])
    yield store
    store.close()


def calls(page: Page) -> Locator:
    """The number of calls."""
    return page.get_by_role("group", name="Calls", exact=True).locator(".value")


def live(page: Page) -> Locator:
    return page.locator("#live")


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].strip("/"))


def ready(page: Page) -> None:
    """Wait until all numbers are there."""
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


@contextmanager
def shown(page: Page, store: UsageStore, **more: Any) -> Iterator[str]:
    """A dashboard that is served until the page has left it, which it does not in the middle of a connection."""
    with served(store, **more) as url:
        yield url
        expect(live(page)).to_have_text("live")
        page.goto("about:blank")


def test_a_page_that_could_not_be_loaded_comes_by_itself(page: Page, store: UsageStore, watched: Watched) -> None:
    """Where the server stops before a page was loaded, that is said, can be tried again, and mends itself."""
    watched.expected = GONE
    with doomed(store) as url:
        page.goto(url)
        expect(live(page)).to_have_text("live")
        expect(calls(page)).to_have_text("1")
    page.get_by_role("link", name="Cost", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded: the server may have been stopped")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("the server still does not answer")
    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("No answer")
    page.get_by_role("link", name="Cost", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("\u201cCost\u201d could not be loaded")
    with shown(page, store, port=port_of(url)):
        expect(page.get_by_role("group", name="Per 1K calls")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()
        assert "view=cost" in page.url


def test_a_page_whose_program_does_not_come_says_what_to_do(page: Page, store: UsageStore, watched: Watched) -> None:
    """Where not even the page's own program arrives, a line with a link stands there after some seconds."""
    watched.expected = ("ERR_FAILED",)
    page.route("**/static/app.js", lambda route: route.abort())
    with shown(page, store) as url:
        page.goto(f"{url}?range=all")
        link = page.get_by_role("link", name="Try again")
        expect(link).to_be_visible()
        page.unroute("**/static/app.js")
        link.click()
        expect(calls(page)).to_have_text("1")
        assert "range=all" in page.url
        expect(link).to_be_hidden()


def test_a_server_of_another_version_brings_its_own_page(
    page: Page, store: UsageStore, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade an open page is loaded anew: its old parts do not fit the new ones."""
    watched.expected = GONE
    with doomed(store) as url:
        page.goto(url)
        expect(calls(page)).to_have_text("1")
        expect(live(page)).to_have_text("live")
        page.evaluate("window.isSame = true")
    expect(live(page)).to_have_text("reconnecting")
    monkeypatch.setattr(offers, "version", lambda _: "99.0")
    with shown(page, store, port=port_of(url)):
        expect(page.locator("#database")).to_contain_text("langchain_tokens 99.0")
        page.wait_for_function("() => !window.isSame && document.querySelector('.card')")


def test_a_server_with_another_database_is_told(
    page: Page, store: UsageStore, tmp_path: Path, watched: Watched
) -> None:
    """Who starts the server again for another file reads the other file's name and numbers."""
    watched.expected = GONE
    other = UsageStore(parse_target(tmp_path / "other.db"))
    other.add([make_call(started_at=datetime.now(UTC)) for _ in range(3)])
    with doomed(store) as url:
        page.goto(url)
        expect(calls(page)).to_have_text("1")
        expect(live(page)).to_have_text("live")
    expect(live(page)).to_have_text("reconnecting")
    with shown(page, other, port=port_of(url)):
        expect(calls(page)).to_have_text("3")
        expect(page.locator("#database")).to_contain_text("other.db")
    other.close()


def test_a_database_that_is_taken_away_is_told_and_not_made_anew(
    page: Page, store: UsageStore, watched: Watched, tmp_path: Path
) -> None:
    """Numbers of before stay with what is wrong above them, and the file's return is seen without a reload."""
    watched.expected = ("503",)
    path = store.target.path
    assert path is not None
    with shown(page, store) as url:
        page.goto(url)
        expect(calls(page)).to_have_text("1")
        expect(live(page)).to_have_text("live")
        store.close()
        path.rename(tmp_path / "elsewhere.db")
        expect(page.get_by_role("alert")).to_contain_text("it was moved or deleted")
        expect(calls(page)).to_have_text("1")
        assert not path.exists()
        (tmp_path / "elsewhere.db").rename(path)
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(calls(page)).to_have_text("1")


def test_a_database_that_never_was_is_made(tmp_path: Path) -> None:
    """A store whose file nobody has written to yet is empty, and no trouble."""
    store = UsageStore(parse_target(tmp_path / "new.db"))
    client = make_client(store)
    assert [client.get("/api/v1/status").json()["calls"] for _ in range(2)] == [0, 0]
    store.close()


def test_what_a_click_did_not_get_is_told(page: Page, store: UsageStore, watched: Watched) -> None:
    """A button that asks the server says so when there is none."""
    watched.expected = GONE
    with doomed(store) as url:
        page.goto(f"{url}?view=data")
        ready(page)
        expect(live(page)).to_have_text("live")
    page.get_by_role("button", name="Clear history").click()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


def test_a_page_that_was_opened_on_nothing_learns_what_there_is(page: Page, tmp_path: Path) -> None:
    """Once there are calls, a filter that none of them matches is told from a database without any."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    with shown(page, store) as url:
        page.goto(f"{url}?range=all")
        expect(page.get_by_role("heading", name="No calls yet")).to_be_visible()
        expect(live(page)).to_have_text("live")
        old = datetime(2025, 1, 31, tzinfo=UTC)
        store.add([make_call(started_at=old), make_call(started_at=datetime.now(UTC))])
        expect(calls(page)).to_have_text("2")
        expect(page.get_by_role("img", name=re.compile("by month and model"))).to_be_visible()
    store.close()


def test_a_clock_that_is_wrong_changes_no_number(page: Page, store: UsageStore) -> None:
    """What counts is the server's time: a browser that is days behind shows the same steps and rates."""
    behind = "const real = Date.now.bind(Date); Date.now = () => real() - 3 * 86_400_000;"
    said = []
    with shown(page, store) as url:
        for script in ("", behind):
            page.add_init_script(script)
            page.goto(f"{url}?view=cost&range=7d&every=day")
            ready(page)
            chart = page.get_by_role("img", name=re.compile("^Cost over time"))
            expect(chart).to_have_attribute("aria-label", re.compile("in 8 steps"))
            cards = page.locator(".card").filter(has_text="Per day")
            said.append(cards.inner_text())
            page.get_by_role("button", name="Custom").click()
            said.append(page.get_by_label("to", exact=True).input_value())
    assert said[:2] == said[2:]


@pytest.mark.parametrize("asked", ["from=2026-02-30&to=0000-01-01", "from=0001-01-01&to=9999-12-31", "from=x&to="])
def test_days_that_are_none_are_left_out(page: Page, store: UsageStore, asked: str) -> None:
    """A range of days that no calendar has, or that has no end, is what can be made of it."""
    with shown(page, store) as url:
        page.goto(f"{url}?range=custom&{asked}")
        expect(calls(page)).to_have_text("1")


def test_an_error_is_not_taken_for_nothing(page: Page, store: UsageStore, watched: Watched) -> None:
    """Where a question was not answered no list says that there is nothing, and no number answers another question."""
    watched.expected = ("422",)
    with shown(page, store) as url:
        page.goto(f"{url}?range=custom&from=2026-11-20&to=2026-11-10")
        expect(page.get_by_role("alert")).to_contain_text("This cannot be asked")
        said = page.locator("main").inner_text()
        assert "Nothing in this range" not in said
        assert "No calls" not in said
        page.get_by_role("button", name="7 days").click()
        expect(calls(page)).to_have_text("1")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.evaluate("history.pushState({}, '', '?range=custom&from=2026-11-20&to=2026-11-10')")
        page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
        expect(page.get_by_role("alert")).to_contain_text("This cannot be asked")
        expect(calls(page)).to_be_hidden()


def test_a_zone_that_the_server_does_not_know_can_be_left(page: Page, store: UsageStore, watched: Watched) -> None:
    """A bare offset is no zone; a name that only the browser knows is told, with the way back to UTC."""
    watched.expected = ("422",)
    with shown(page, store) as url:
        page.goto(f"{url}?tz=%2B05:30")
        expect(calls(page)).to_have_text("1")
        refusal = {"title": "This cannot be asked", "detail": "unknown"}
        page.route("**/api/v1/overview?*tz=*", lambda route: route.fulfill(status=422, json=refusal))
        page.goto(f"{url}?tz=Asia/Kathmandu")
        page.get_by_role("button", name="Show times in UTC").click()
        expect(calls(page)).to_have_text("1")
        expect(page.get_by_label("Times")).to_have_value("UTC")


def test_more_rows_come_once_each(page: Page, tmp_path: Path) -> None:
    """Two clicks in a row, and a call that arrives meanwhile, leave no row out and show none twice."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    now = datetime.now(UTC)
    store.add([make_call(chain=f"chain {number}", started_at=now - timedelta(minutes=number)) for number in range(170)])
    with shown(page, store) as url:
        page.goto(f"{url}?view=explore&range=all")
        lines = page.get_by_role("table", name="Calls").locator("tbody tr")
        expect(lines).to_have_count(50)
        page.get_by_role("button", name="Load more").dblclick()
        store.add([make_call(chain="new", started_at=now + timedelta(seconds=1))])
        expect(lines.first).to_contain_text("new")
        expect(lines).to_have_count(150)
        names = lines.locator("td:nth-of-type(1)").all_inner_texts()
        assert names == ["new", *(f"chain {number}" for number in range(149))]
        page.get_by_role("button", name="Load more").click()
        expect(lines).to_have_count(171)
        expect(page.get_by_role("button", name="Load more")).to_be_hidden()
    store.close()


def test_what_is_left_out_is_told(page: Page, tmp_path: Path) -> None:
    """Of thousands of sessions the largest are listed, and that is said; a chart has all others as a part."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    now = datetime.now(UTC)
    store.add([make_call(session=f"s-{n}", agent=f"a-{n}", model=f"m-{n}", started_at=now) for n in range(600)])
    with shown(page, store) as url:
        page.goto(f"{url}?view=explore&range=all&by=session&kind=treemap")
        expect(page.get_by_text("The largest 500; the total is of all.")).to_be_visible()
        chart = page.get_by_role("img", name=re.compile("^Parts"))
        expect(chart.get_by_text("all others", exact=True)).to_be_attached()
        page.goto(f"{url}?range=all")
        expect(page.get_by_role("link", name=re.compile("^By agent: 194 or more"))).to_be_visible()
    store.close()


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_numbers_are_whole_on_a_phone(page: Page, tmp_path: Path) -> None:
    """A sum of billions is not cut off, and names of hundreds of letters make no page scroll sideways."""
    store = UsageStore(parse_target(tmp_path / "usage.db"))
    long = {"agent": "a" * 400, "chain": "c" * 400, "model": "m" * 400, "session": "s" * 400, "status": "error"}
    made = [make_call(tokens=(10**12, 1), cost="123456.789", started_at=datetime.now(UTC), **long) for _ in range(3)]
    store.add(made, [make_fact(name="r" * 400, started_at=datetime.now(UTC))])
    with shown(page, store) as url:
        for view in PAGES:
            page.goto(f"{url}?view={view}&range=all")
            ready(page)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), view
            for number in page.locator(".card .value").all():
                assert number.evaluate("(each) => each.scrollWidth <= each.clientWidth"), (view, number.inner_text())
        page.goto(f"{url}?range=all")
        expect(page.get_by_role("group", name="Tokens", exact=True)).to_contain_text("3,000,000,000,003")
    store.close()


def test_the_keyboard_goes_on_where_a_page_begins(page: Page, store: UsageStore) -> None:
    """A name that is followed with Enter is gone with its page; the next Tab is in the new page, not before it."""
    with shown(page, store) as url:
        page.goto(url)
        expect(calls(page)).to_have_text("1")
        page.get_by_role("table", name="By model").get_by_role("button").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="Breakdown")).to_be_visible()
        expect(page.locator("main")).to_be_focused()


def test_unseen_pages_ask_for_nothing(page: Page, store: UsageStore) -> None:
    """A page in the background asks when it is looked at again, and then has everything."""
    asked: list[str] = []
    with shown(page, store) as url:
        with page.expect_websocket() as heard:
            page.goto(url)
        expect(calls(page)).to_have_text("1")
        expect(live(page)).to_have_text("live")
        page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.isHidden, configurable: true })")
        page.evaluate("window.isHidden = true")
        page.on("request", lambda request: asked.append(request.url))
        for _ in range(2):  # what the first one made the page do was done when the second is heard
            with heard.value.expect_event("framereceived"):
                store.add([make_call(started_at=datetime.now(UTC))])
        assert asked == []
        page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
        expect(calls(page)).to_have_text("3")


def test_a_page_of_the_api_without_its_description_is_told(page: Page, store: UsageStore, watched: Watched) -> None:
    """The API's page does not stay at its loading line."""
    watched.expected = ("net::ERR_",)
    page.route("**/openapi.json", lambda route: route.abort())
    with served(store) as url:
        page.goto(f"{url}api")
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        page.unroute("**/openapi.json")
        page.get_by_role("link", name="Try again").click()
        expect(page.get_by_role("heading", name="GET /api/v1/breakdown")).to_be_visible()
