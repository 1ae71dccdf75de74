"""What was said in a call, on its page: asked for when it is opened, text whatever is in it, and whole where it is long."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

from langchain_tokens.said import ContentFact
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from langchain_tokens.transcript import MOST
from tests.builders import make_call, make_fact
from tests.dashboards import HOSTILE, SCRIPT, served

if TYPE_CHECKING:
    from tests.browsers import Watched

pytest_plugins = ("tests.browsers",)

WILD = "red \x1b[31m\x07 \x9b\r\nsecond\tline \u202egnp.exe\u2066 \U000e0041 end"
ARABIC = "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643"
LONG = ("\U0001f408" + "w" * 15) * (MOST // 16)
assert len(LONG) == MOST
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "text": SCRIPT, "name": HOSTILE},
    {"role": "cut", "text": "\u2026 [3 messages cut]"},
    {"role": "human", "text": f"See this.\n[image, image/png, 304 bytes]\n{WILD}"},
    {"role": "human", "text": ARABIC},
    {
        "role": "ai",
        "text": "",
        "tool_calls": [{"id": "t1", "name": HOSTILE, "arguments": {"q": SCRIPT, "n": 2**53 + 1}}],
    },
    {"role": "tool", "text": "rows\u2026 [12 characters cut]", "name": "search", "tool_call_id": "t1"},
    {"role": "human", "text": "", "tool_results": [{"tool_call_id": "t9", "text": "42"}]},
]
ANSWER = {"text": LONG, "reasoning": HOSTILE, "alternatives": [{"text": "or this"}]}


@pytest.fixture(scope="module")
def desk() -> Iterator[str]:
    """A dashboard of four calls: of one much was said, of one nothing is kept, one has no answer, one many messages."""
    store, at = UsageStore(parse_target("sqlite://")), datetime.now(UTC) - timedelta(minutes=5)
    calls = [
        make_call(call_id=name, run_id="run-1", chain=name, started_at=at)
        for name in ("much", "none", "failed", "many")
    ]
    many = [{"role": "human", "text": f"message {number}"} for number in range(MOST // 40)]
    contents = [
        ("much", MESSAGES, ANSWER, {"messages_cut": True}),
        ("failed", [{"role": "prompt", "text": "hello"}], None, {}),
        ("many", many, {"text": ""}, {"answer_cut": True}),
    ]
    said = [
        ContentFact(call_id=name, messages=json.dumps(sent), answer=answer and json.dumps(answer), **more)  # type: ignore[arg-type]
        for name, sent, answer, more in contents
    ]
    store.add(calls, [make_fact("run-1", started_at=at)], said)
    with served(store) as url:
        yield url
    store._opener._engine.dispose()


def opened(page: Page, desk: str, call_id: str) -> Locator:
    """A call's page with what was said in it."""
    page.goto(f"{desk}?call={call_id}")
    page.get_by_text("What was said", exact=True).click()
    said = page.locator("dialog .said").first
    expect(said.locator("section, .hint").last).to_be_visible()
    expect(said).not_to_contain_text("Asking for it")
    return said


def asked_of(page: Page) -> list[str]:
    """The requests for it that the page makes from here on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/content") else None)
    return asked


def part(said: Locator, heading: str) -> Locator:
    return said.get_by_role("region", name=heading, exact=True)


def test_it_is_asked_for_when_it_is_opened(page: Page, desk: str) -> None:
    """No list, no run and no call asks for it; it is there when it is opened, and gone from the page when closed."""
    asked = asked_of(page)
    page.goto(f"{desk}?view=runs&id=run-1")
    page.get_by_role("table", name="Calls of this run").get_by_role("row").filter(has_text="failed").click()
    summary = page.get_by_text("What was said", exact=True)
    expect(summary).to_be_visible()
    assert asked == []
    summary.click()
    said = page.locator("dialog .said")
    expect(part(said, "prompt").locator("pre")).to_have_text("hello")
    expect(part(said, "no answer")).to_be_visible()
    assert len(asked) == 1
    summary.click()
    expect(said).to_be_empty()
    summary.click()
    expect(part(said, "prompt")).to_be_visible()
    assert len(asked) == 2
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(said).to_be_empty()


def test_whatever_was_said_stays_text(page: Page, desk: str) -> None:
    """Markup, names of tools, and characters that nobody sees or that turn the text around are shown as what they are."""
    said = opened(page, desk, "much")
    expect(part(said, f"system {HOSTILE}").locator("pre")).to_have_text(SCRIPT)
    human = part(said, "human").nth(0).locator("pre")
    assert human.text_content() == (
        "See this.\n[image, image/png, 304 bytes]\n"
        "red \\x1b[31m\\x07 \\x9b\nsecond\tline \\u202egnp.exe\\u2066 \\u{e0041} end"
    )
    arabic = part(said, "human").nth(1).locator("pre")
    expect(arabic).to_have_text(ARABIC)
    assert arabic.evaluate("(each) => getComputedStyle(each).direction") == "rtl"
    assert human.evaluate("(each) => getComputedStyle(each).direction") == "ltr"
    assert page.locator("dialog img, dialog script").count() == 0
    assert page.title() == "Overview \u00b7 Token usage"


def test_tools_and_cuts_are_marked(page: Page, desk: str) -> None:
    """Calls of tools with their arguments to the last digit, results, reasoning, other answers, and all that was cut."""
    said = opened(page, desk, "much")
    calls = part(said, "ai")
    expect(calls.locator(".label")).to_have_text(f"calls {HOSTILE} \u00b7 t1")
    assert json.loads(calls.locator("pre").text_content() or "") == {"q": SCRIPT, "n": "9007199254740993"}
    tool = part(said, "tool search \u00b7 to t1")
    expect(tool.locator("pre")).to_have_text("rows")
    expect(tool.locator(".cut")).to_have_text("\u2026 [12 characters cut]")
    expect(part(said, "human").nth(2)).to_contain_text("result of t9")
    expect(said.locator(":scope > .cut")).to_have_text(
        ["The messages were longer than what is kept; what was cut is marked.", "\u2026 [3 messages cut]"]
    )
    expect(part(said, "answer").locator("pre.reasoning")).to_have_text(HOSTILE)
    expect(part(said, "another answer").locator("pre")).to_have_text("or this")


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_a_long_text_is_shown_when_it_is_asked_for(page: Page, desk: str) -> None:
    """It begins; a button that the keyboard reaches shows all of it, and less again. A phone shows it as it is wide."""
    said = opened(page, desk, "much")
    text, more = part(said, "answer").locator("pre").last, said.get_by_role("button")
    assert len(text.text_content() or "") < 2_000
    expect(more).to_have_text(f"Show all {MOST:,} characters")
    page.get_by_text("What was said", exact=True).focus()
    page.keyboard.press("Tab")
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    assert text.text_content() == LONG
    for element in ("document.documentElement", "document.querySelector('dialog')"):
        assert page.evaluate(f"{element}.scrollWidth <= {element}.clientWidth"), element
    expect(more).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert len(text.text_content() or "") < 2_000
    expect(more).to_be_focused()
    expect(more).to_be_in_viewport()


def test_many_messages(page: Page, desk: str) -> None:
    """The last hundred are shown, and those before them when they are asked for."""
    said, most = opened(page, desk, "many"), MOST // 40
    expect(said.locator(".message")).to_have_count(100)
    expect(said.locator(".message").last).to_contain_text(f"message {most - 1}")
    expect(part(said, "answer")).to_contain_text("(empty)")
    expect(said).to_contain_text("The answer was longer than what is kept")
    said.get_by_role("button", name=f"Show {most - 100:,} earlier messages").press("Enter")
    expect(said.locator(".message")).to_have_count(most)
    expect(said.locator(".message").first).to_contain_text("message 0")


def test_where_nothing_is_kept(page: Page, desk: str, watched: Watched) -> None:
    """One line says how to keep it; what goes wrong is told in the same place, and asked for again by opening it."""
    watched.expected = ("404", "503", "Failed to load")
    said = opened(page, desk, "none")
    expect(said).to_have_text(re.compile(r"^It is not kept .*TokenUsageHandler\(capture_content=True\) keeps it"))
    problem = {"title": "No", "detail": "permission denied"}
    page.route(
        "**/content",
        lambda route: route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem)),
    )
    summary = page.get_by_text("What was said", exact=True)
    summary.click()
    summary.click()
    expect(said.get_by_role("alert")).to_have_text("permission denied")
    page.unroute("**/content")
    summary.click()
    summary.click()
    expect(said).to_contain_text("It is not kept")


def test_it_is_accessible(page: Page, desk: str) -> None:
    """It breaks no rule that axe checks (WCAG 2.1 A and AA), in light and in dark."""
    script = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        opened(page, desk, "much")
        page.evaluate(script)
        found = page.evaluate("axe.run('dialog', { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] })")
        told = [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found["violations"]]
        assert told == [], scheme
