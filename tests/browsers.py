"""A real browser for tests: the system's Chromium, driven by Playwright, which must not speak to any other machine.

A plugin: a test module asks for it with `pytest_plugins = ("tests.browsers",)`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
_PATIENCE_MILLISECONDS = 30_000
"""For what a busy machine may take; who waits for what comes waits no longer than it takes."""
_LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:", "file:")


@dataclass
class Watched:
    """What went wrong on a page, beside what is looked for."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of messages that are no errors here."""

    def console(self, message: ConsoleMessage) -> None:
        """Keep what the browser complains about."""
        if message.type in ("error", "warning") and not any(part in message.text for part in self.expected):
            self.errors.append(message.text)

    def request(self, request: Request) -> None:
        """Keep what goes to another machine."""
        if not request.url.startswith(_LOCAL):
            self.strangers.append(request.url)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module. Not for longer: while it is there, an event loop runs in this thread, and
    asynchronous tests cannot.
    """
    if CHROMIUM is None:
        said = "no Chromium was found: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as playwright:
        expect.set_options(timeout=_PATIENCE_MILLISECONDS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def watched() -> Watched:
    """What went wrong on the test's page."""
    return Watched()


@pytest.fixture
def page(chromium: Browser, watched: Watched, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page; at the end nothing on it failed, no policy was broken and nothing went to another machine.

    A test asks for another kind by `@pytest.mark.parametrize("page", [{...}], indirect=True)`, with the arguments of a
    browser's context.
    """
    terms: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}, **getattr(request, "param", {})}
    context = chromium.new_context(**terms)
    context.set_default_timeout(_PATIENCE_MILLISECONDS)
    page = context.new_page()
    page.on("console", watched.console)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("request", watched.request)
    page.on("websocket", lambda socket: watched.strangers.extend([] if socket.url.startswith(_LOCAL) else [socket.url]))
    yield page
    context.close()
    assert watched.errors == []
    assert watched.strangers == []
