"""A dashboard for tests: its API in this process, or served on a port of this machine for a browser."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient

from langchain_tokens.call import Call, RunFact
from langchain_tokens.dashboard import create_app
from langchain_tokens.dashboard.serving import bind, make_server, page_url
from langchain_tokens.store.store import UsageStore
from tests.builders import make_call, make_fact, make_usage

INTENT = {"X-Requested-With": "langchain_tokens"}
TOKEN = "a-token-of-some-length"  # noqa: S105  # a test's
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
"""A name that would run as a program, if a page took it for markup."""
SCRIPT = "</script><script>document.title='broken'</script>"
"""Another one."""
_RUN_OF = {3: "run-query", 4: "run-query", 5: "run-chat-new", 6: "run-chat-old"}
"""Runs that calls of the crew belong to, by number: not by their dates, which midnight would part."""


def make_client(store: UsageStore, **more: Any) -> TestClient:
    """The API of a dashboard that can delete, asked from this machine."""
    app = create_app(store, **{"read_only": False, **more})
    return TestClient(app, base_url="http://127.0.0.1:4321", raise_server_exceptions=False)


@contextmanager
def served(store: UsageStore, *, port: int = 0, **more: Any) -> Iterator[str]:
    """Serve a dashboard as the command does, on a free port unless one is named, and say where."""
    listener, is_up = bind("127.0.0.1", port), threading.Event()
    server = make_server(create_app(store, **{"read_only": False, **more}), started=is_up.set)
    server.config.timeout_graceful_shutdown = 10  # a browser on a busy machine takes its time to let go
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert is_up.wait(60)  # a busy machine takes its time
    try:
        yield page_url(listener, "127.0.0.1")
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def doomed(store: UsageStore) -> Iterator[str]:
    """Serve a dashboard on a free port in a process that is killed at the end, and say where."""
    options = ["--db", str(store.target.path), "--port", "0", "--no-open"]
    command = [sys.executable, "-m", "langchain_tokens.cli", "dashboard", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def crew_calls() -> list[Call]:
    """Calls of the last hours and days with all that a page shows: names, prices, failures, estimates, caches, gaps."""
    now = datetime.now(UTC).replace(microsecond=0)
    said: list[tuple[str, timedelta, dict[str, Any]]] = [
        (
            "plan",
            timedelta(minutes=5),
            {"agent": "Orchestrator", "mode": "RAG", "cost": "0.25", "tokens": (1_000, 200)},
        ),
        ("search", timedelta(minutes=4), {"agent": "RAGAgent", "mode": "RAG", "cost": "0.05", "tokens": (4_000, 100)}),
        ("answer", timedelta(minutes=3), {"agent": "RAGAgent", "mode": "RAG", "cost": "0.5", "tokens": (2_000, 900)}),
        ("query", timedelta(hours=30), {"agent": "SQLAgent", "mode": "TOOL", "cost": "0.1", "tokens": (600, 30)}),
        ("query", timedelta(hours=29), {"agent": "SQLAgent", "mode": "TOOL", "tokens": (600, 30), "is_failed": True}),
        ("chat", timedelta(days=10), {"agent": None, "mode": "SIMPLE", "cost": "0.02", "tokens": (50, 20)}),
        ("chat", timedelta(days=40), {"agent": None, "mode": "SIMPLE", "cost": "0.01", "tokens": (40, 10)}),
        (SCRIPT, timedelta(minutes=2), {"agent": HOSTILE, "mode": "RAG", "tokens": None}),
    ]
    return [_crew_call(number, now - ago, chain, more) for number, (chain, ago, more) in enumerate(said)]


def crew_runs(calls: list[Call]) -> list[RunFact]:
    """The runs of these calls."""
    starts = {call.run_id: call for call in sorted(calls, key=lambda call: call.started_at, reverse=True)}
    return [
        make_fact(run_id, name="assistant", session=call.session, mode=call.mode, started_at=call.started_at)
        for run_id, call in starts.items()
    ]


def _crew_call(number: int, at: datetime, chain: str, more: dict[str, Any]) -> Call:
    is_failed, agent = more.pop("is_failed", False), more.pop("agent")
    model = "gpt-4o" if agent == "RAGAgent" else "gpt-4o-mini"
    cached = make_usage(4_000, 100, cache_read_tokens=1_000) if chain == "search" else None
    status = {"status": "error", "error_type": "ValueError", "error_message": "no such table"} if is_failed else {}
    return make_call(
        call_id=f"crew-{number}",
        run_id=_RUN_OF.get(number, "run-rag"),
        session="s-new" if number in (0, 1, 2, 7) else "s-old",
        started_at=at,
        chain=chain,
        agent=agent,
        path=f"assistant/{agent}/{chain}".replace("</", "<"),
        model=model,
        provider="openai",
        user="ada",
        tags={"team": "blue"},
        duration_ms=1_500.0,
        **({"usage": cached} if cached else {}),
        **status,
        **more,
    )
