"""Who is told, and how often? Each mark once for each period; by callables and webhooks that hold up nobody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_tokens import Budget, PriceBook, TokenUsageHandler, track, webhook
from langchain_tokens.alerts import Alerts
from langchain_tokens.budgets import Alert
from langchain_tokens.errors import BudgetError
from langchain_tokens.registry import REGISTRY
from langchain_tokens.webhook import Webhook, WebhookError
from tests.builders import NOON, make_call
from tests.models import Reply, ScriptedChat, in_turn

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)

USAGE = {"prompt_tokens": 60, "completion_tokens": 40}


@pytest.fixture(autouse=True)
def _drained() -> Iterator[None]:
    """Stop the threads that a test began."""
    yield
    REGISTRY.drain()


def told_by(handler: TokenUsageHandler) -> None:
    """Wait until all that was recorded is stored, and all alerts are told."""
    assert handler.flush(30)
    assert REGISTRY.alerts.wait(30)


def make_alert(*targets: Any) -> Alert:
    """An alert of half a budget."""
    budget = Budget(limit_tokens=200, name="team", alert=targets)
    account = budget.account_of(make_call())
    return Alert(budget=budget, account=account, kind="mark", mark=0.5, spent=100, share=0.5, at=NOON)


def test_each_mark_is_told_once(lasting_database: Database) -> None:
    """Marks are told when they are reached, the limit among them, once for all handlers and sessions of a period."""
    alerts: list[Alert] = []
    budget = Budget(limit_tokens=1_000, per="session", warn_at=(0.3, 0.5), alert=alerts.append)
    with (
        TokenUsageHandler(lasting_database.url, budgets=[budget]) as handler,
        TokenUsageHandler(lasting_database.url, budgets=[budget], journal=False) as other,
    ):
        for number in range(12):
            (handler, other)[number % 2].record(USAGE, session="s1")
            told_by((handler, other)[number % 2])
        for _ in range(3):
            handler.record(USAGE, session="s2")
        told_by(handler)
        handler.record(USAGE)
        told_by(handler)

    assert [(alert.account.scope, alert.mark, alert.spent) for alert in alerts] == [
        ((("session", "s1"),), 0.3, 300),
        ((("session", "s1"),), 0.5, 500),
        ((("session", "s1"),), 1.0, 1_000),
        ((("session", "s2"),), 0.3, 300),
    ]
    assert (
        alerts[2].text
        == "budget '1,000 tokens per session' (session 's1'): 1,000 of 1,000 tokens spent (100%, mark 100%)"
    )


def test_a_batch_may_reach_several_marks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Marks that are reached at once are all told, ascending, and logged where nobody else is to be told."""
    caplog.set_level(logging.WARNING, "langchain_tokens")
    with TokenUsageHandler(tmp_path / "t.db", budgets=[Budget(limit_tokens=100, per="day")]) as handler:
        handler.record(USAGE)
        told_by(handler)

    assert [message.rsplit("mark ", 1)[1] for message in caplog.messages] == ["50%)", "80%)", "100%)"]


def test_a_raised_limit_is_told_anew(tmp_path: Path) -> None:
    """Whoever raises a limit hears of its marks again."""
    alerts: list[Alert] = []
    for limit in (100, 200):
        with TokenUsageHandler(
            tmp_path / "t.db", budgets=[Budget(limit_tokens=limit, warn_at=(), action=alerts.append)]
        ) as handler:
            handler.record(USAGE)
            told_by(handler)

    assert [(alert.budget.limit, alert.mark) for alert in alerts] == [(100, 1.0), (200, 1.0)]


def test_blocks_are_told_of_their_own(tmp_path: Path) -> None:
    """A block's budgets are told of calls in it, recorded ones among them, and not of others."""
    alerts: list[Alert] = []
    budget = Budget(limit_calls=2, per="session", warn_at=(), alert=alerts.append)
    with TokenUsageHandler(tmp_path / "t.db", budgets=()) as handler:
        with track(session="s1", budgets=[budget]):
            ScriptedChat().invoke("q", {"callbacks": [handler]})
            handler.record(USAGE)
        for _ in range(3):
            handler.record(USAGE, session="s2")
        told_by(handler)

    assert [(alert.account.scope, alert.spent) for alert in alerts] == [((("session", "s1"),), 2)]


def test_calls_without_a_price_are_told_once(tmp_path: Path) -> None:
    """Under a limit in dollars, a model without a price is told once for each period; failed calls are none."""
    alerts: list[Alert] = []
    budget = Budget(limit_usd=1, per="day", alert=alerts.append)
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget], prices=PriceBook([])) as handler:
        handler.record(None, model="gpt-4o", provider="openai", status="error", error="no")
        told_by(handler)
        assert alerts == []
        for _ in range(2):
            handler.record(USAGE, model="home-made-9", provider="nobody")
            told_by(handler)

    assert [(alert.kind, alert.model) for alert in alerts] == [("unpriced", "home-made-9")]
    assert "calls of 'home-made-9' have no price" in alerts[0].text


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_callable_that_raises_is_logged_once(
    kind: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are told all the same, the host does not notice, and a secret in the error is masked; exits are errors."""
    alerts: list[Alert] = []

    def fail(_: Alert) -> None:
        raise kind("password=hunter22 refused")

    budget = Budget(limit_tokens=100, alert=[fail, alerts.append])
    with TokenUsageHandler(tmp_path / "t.db", budgets=[budget]) as handler:
        handler.record(USAGE)
        told_by(handler)

    assert len(alerts) == 3
    assert caplog.text.count(f"an alert could not be told ({kind.__name__}") == 1
    assert "hunter22" not in caplog.text


def test_a_slow_target_holds_up_nobody(tmp_path: Path) -> None:
    """While somebody takes long to be told, calls are stored, and alerts wait in a bounded queue."""
    let_go, reached = threading.Event(), threading.Event()

    def slow(_: Alert) -> None:
        reached.set()
        let_go.wait(30)

    alerts = Alerts()
    for _ in range(1_100):
        alerts.tell(make_alert(slow))
    assert reached.wait(30)
    assert 90 <= alerts.dropped <= 100
    with TokenUsageHandler(tmp_path / "t.db", budgets=[Budget(limit_tokens=100, alert=slow)]) as handler:
        handler.record(USAGE)
        assert handler.flush(30)
    let_go.set()
    assert alerts.wait(30)


# Webhooks


class Listener(ThreadingHTTPServer):
    """A server on this machine that answers by a list of statuses, and keeps what it got; 0 does not answer."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.statuses = list(statuses)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.let_go = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook/s3cret"


class _Answering(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:  # the library's name
        """Keep it, and answer."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(content)))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        if status == 0:
            self.server.let_go.wait(30)
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815  # so that a redirection that was followed would be seen

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def listening(*statuses: int) -> Iterator[Listener]:
    """A server that listens while the block goes on."""
    with Listener(*statuses) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(webhook, "_PAUSES_SECONDS", (0.0,))


def test_a_webhook_posts_the_alert(tmp_path: Path) -> None:
    """What is posted says all that the alert knows, with the headers that were asked for."""
    with listening() as server:
        hook = Webhook(server.url, headers={"Authorization": "Bearer t0ken"})
        budget = Budget(limit_usd="0.00001", warn_at=(), per="session", name="team", alert=hook)
        with TokenUsageHandler(tmp_path / "t.db", budgets=[budget]) as handler:
            handler.record(USAGE, model="gpt-4o-mini", provider="openai", session="s1")
            told_by(handler)

    [(path, headers, document)] = server.got
    assert (path, headers["Authorization"], headers["Content-Type"]) == (
        "/hook/s3cret",
        "Bearer t0ken",
        "application/json",
    )
    assert document["text"].startswith("budget 'team' (session 's1'): $0.000033 of $0.000010 spent")
    known = {name: document[name] for name in ("kind", "budget", "unit", "scope", "mark", "spent", "limit")}
    assert known == {
        "kind": "mark",
        "budget": "team",
        "unit": "usd",
        "scope": {"session": "s1"},
        "mark": 1.0,
        "spent": "0.000033000000",
        "limit": "0.000010000000",
    }


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    ("statuses", "retries", "tries", "failure"),
    [
        ((200,), 2, 1, None),
        ((500, 503, 200), 2, 3, None),
        ((429, 201), 1, 2, None),
        ((500, 500, 500), 2, 3, "status 500"),
        ((500,), 0, 1, "status 500"),
        ((404, 200), 2, 1, "status 404"),
        ((302, 200), 2, 1, "status 302"),
        ((0, 200), 1, 2, None),
        ((0,), 0, 1, "TimeoutError"),
    ],
)
def test_a_webhook_tries_again(statuses: tuple[int, ...], retries: int, tries: int, failure: str | None) -> None:
    """No answer, a 429 and a 5xx are tried again; other answers are not, nor is a redirection followed."""
    with listening(*statuses) as server:
        hook = Webhook(server.url, timeout=0.3, retries=retries)
        if failure is None:
            hook(make_alert())
        else:
            with pytest.raises(WebhookError) as raised:
                hook(make_alert())
            assert str(raised.value) == f"the webhook at http://127.0.0.1/… did not take an alert: {failure}"

    assert len(server.got) == tries


@pytest.mark.usefixtures("_hurried")
def test_no_secret_of_a_webhook_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither its form as text nor what is logged of a failure shows the URL's path or a header."""
    with listening() as server:
        url = server.url
    hook = Webhook(url + "?key=s3cret", headers={"Authorization": "Bearer s3cret"}, retries=1)
    alerts = Alerts()
    alerts.tell(make_alert(hook))
    assert alerts.wait(30)

    assert "ConnectionRefusedError" in caplog.text
    assert "s3cret" not in caplog.text + repr(hook) + str(hook) + repr(make_alert(hook).budget)


@pytest.mark.parametrize(
    "given",
    [
        {"url": "file:///etc/passwd"},
        {"url": "example.com"},
        {"url": "https://"},
        {"url": "https://a b"},
        {"url": "https://x\n.com"},
        {"url": "https://x:99999999"},
        {"url": 7},
        {"url": "https://x", "timeout": 0},
        {"url": "https://x", "timeout": float("inf")},
        {"url": "https://x", "retries": -1},
        {"url": "https://x", "headers": {"A": "b\r\nC: d"}},
        {"url": "https://x", "headers": ["A"]},
    ],
)
def test_a_webhook_that_cannot_be(given: dict[str, Any]) -> None:
    """Wrong arguments are refused without being shown, where they may hold a secret."""
    with pytest.raises(BudgetError) as raised:
        Webhook(**given)

    assert "passwd" not in str(raised.value)


def test_names_cannot_forge_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A session whose name has line breaks and escapes is logged on one line."""
    with TokenUsageHandler(
        tmp_path / "t.db", budgets=[Budget(limit_calls=1, per="session")], session="a\n\x1b[31mERROR"
    ) as handler:
        ScriptedChat(script=in_turn(Reply())).invoke("q", {"callbacks": [handler]})
        told_by(handler)

    assert all("\n" not in message and "\x1b" not in message for message in caplog.messages)
