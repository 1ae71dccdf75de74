from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call
from tests.dashboards import served

if TYPE_CHECKING:
    from tests.browsers import Watched

pytest_plugins = ("tests.browsers",)

EVENING = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)
"""A quarter past the night's first hour in Kolkata: another day there."""
AUTUMN = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
"""Before clocks in Berlin are put back."""
TWICE = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
"""In the first of two hours that are called two o'clock in Berlin."""


@pytest.fixture(scope="module")
def desk() -> Iterator[str]:
    """A dashboard with calls of two evenings and nights."""
    store = UsageStore(parse_target("sqlite://"))
    times = (
        EVENING,
        EVENING.replace(hour=23, minute=10),
        AUTUMN,
        AUTUMN.replace(day=25, hour=3),
        TWICE,
        TWICE.replace(hour=1),
    )
    store.add([make_call(started_at=at, model="m", chain=f"at {at:%d %H:%M}") for at in times])
    with served(store) as url:
        yield url
    store._opener._engine.dispose()


def zone_of(page: Page) -> str:
    """The zone that is chosen."""
    return page.get_by_label("Times").input_value()


def steps(page: Page) -> str:
    """What the chart over time says of itself."""
    return page.get_by_role("img", name="in all, in").get_attribute("aria-label") or ""


@pytest.mark.parametrize("page", [{"timezone_id": "Asia/Kolkata"}], indirect=True)
def test_times_are_of_the_zone_that_is_chosen(page: Page, desk: str, watched: Watched) -> None:
    """UTC unless the browser's own zone is chosen; the choice is in the address, and holds on every page."""
    page.goto(f"{desk}?range=all")
    latest = page.get_by_role("table", name="Latest calls")
    expect(latest.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-01 20:00:00")
    assert zone_of(page) == "UTC"
    page.get_by_label("Times").select_option("Asia/Kolkata")
    expect(latest.get_by_role("columnheader").first).to_have_text("Time (Asia/Kolkata)")
    expect(latest.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-02 01:30:00")
    assert "tz=Asia%2FKolkata" in page.url
    page.reload()
    expect(latest.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-02 01:30:00")
    page.get_by_role("link", name="Explore", exact=True).first.click()
    calls = page.get_by_role("table", name="Calls", exact=True)
    expect(calls.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-02 01:30:00")
    page.get_by_label("Times").select_option("UTC")
    expect(calls.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-01 20:00:00")
    assert "tz=" not in page.url
    page.go_back()
    expect(calls.get_by_role("row").filter(has_text="at 01 20:00")).to_contain_text("2026-03-02 01:30:00")
    assert watched.errors == []


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        pytest.param("Asia/Kolkata", "2026-03-02", 4, id="an offset of half an hour"),
        pytest.param("Europe/Berlin", "2026-10-25", 5, id="a night with an hour twice"),
        pytest.param("Europe/Berlin", "2025-10-26", 2, id="the hour that is there twice alone"),
        pytest.param("America/New_York", "2026-03-01", 4, id="behind UTC"),
    ],
)
def test_days_and_hours_are_of_the_zone(page: Page, desk: str, zone: str, date: str, hours: int) -> None:
    """A day that is chosen is the zone's, its hours follow each other without a hole, and a foreign zone is kept."""
    page.goto(f"{desk}?range=custom&from={date}&to={date}&tz={zone.replace('/', '%2F')}")
    expect(page.get_by_role("group", name="Calls", exact=True).locator(".value")).to_have_text("2")
    assert steps(page).endswith(f"in {hours} steps")
    assert zone_of(page) == zone


def test_an_unknown_zone_is_utc(page: Page, desk: str) -> None:
    """A zone that there is not is not asked for."""
    page.goto(f"{desk}?range=all&tz=Mars%2FOlympus")
    expect(page.get_by_role("group", name="Calls", exact=True).locator(".value")).to_have_text("6")
    assert zone_of(page) == "UTC"
