from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.sync.client import connect

from langchain_tokens.dashboard.rules import host_name, make_rules, make_token
from langchain_tokens.dashboard.serving import bind, is_loopback
from langchain_tokens.errors import DashboardError
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import make_call
from tests.dashboards import INTENT, TOKEN, make_client

EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it but by the command under test
HTML = {"Accept": "text/html,*/*"}


@pytest.fixture(scope="module")
def store() -> Iterator[UsageStore]:
    store = UsageStore(parse_target("sqlite://"))
    store.add([make_call()])
    yield store
    store._opener._engine.dispose()


@pytest.fixture
def client(store: UsageStore) -> TestClient:
    return make_client(store)


@pytest.fixture
def locked(store: UsageStore) -> TestClient:
    return make_client(store, token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1:4321", "localhost", "LOCALHOST:80", "[::1]:4321"])
def test_names_of_this_machine_are_let_in(host: str, client: TestClient) -> None:
    """Each name by which a browser here reaches the dashboard is one of its own."""
    assert client.get("/api/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:4321", "", "["])
def test_other_host_names_are_refused(host: str, client: TestClient) -> None:
    """A name that somebody else points at this machine (DNS rebinding) reaches nothing, not even a file."""
    for path in ("/", "/api/v1/status", "/static/app.js"):
        response = client.get(path, headers={"Host": host})
        assert response.status_code == 400
        assert "calls" not in response.text


def test_more_hosts_can_be_allowed(store: UsageStore) -> None:
    """An application that mounts it names its own hosts."""
    client = make_client(store, allowed_hosts=["tokens.example.com"])
    assert client.get("/api/v1/status", headers={"Host": "tokens.example.com"}).status_code == 200
    assert client.get("/api/v1/status").status_code == 400


@pytest.mark.parametrize(
    "path", ["/", "/login", "/api", "/static/app.js", "/api/v1/status", "/openapi.json", "/nowhere", "/metrics"]
)
def test_every_answer_has_the_policy(path: str, client: TestClient) -> None:
    """Pages, files, data and errors forbid what they do not need."""
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert headers["cache-control"]


@pytest.mark.parametrize(
    "path", ["/", "/login", "/healthz", "/static/app.js", "/api/v1/status", "/metrics", "/api/v1/export", "/nowhere"]
)
def test_head_is_answered_as_get_is(path: str, client: TestClient) -> None:
    """A check of health that asks for no body gets the same status and headers, and none."""
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers.keys() == whole.headers.keys()


def test_head_needs_the_token(locked: TestClient) -> None:
    """It tells no more than its status to somebody who does not know the token."""
    assert (locked.head("/healthz").status_code, locked.head("/api/v1/status").status_code) == (200, 401)


STRANGERS = [
    {},
    {"X-Requested-With": "XMLHttpRequest"},
    {**INTENT, "Sec-Fetch-Site": "cross-site"},
    {**INTENT, "Sec-Fetch-Site": "same-site"},
    {**INTENT, "Origin": "http://evil.example"},
    {**INTENT, "Origin": "http://127.0.0.1:9999"},
    {**INTENT, "Origin": "null"},
    {**INTENT, "Origin": "http://[::1"},
]


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_no_other_site_can_delete(headers: dict[str, str], client: TestClient) -> None:
    """A request that changes something says that it means it, and comes from a page of this one."""
    response = client.delete("/api/v1/history?confirm=1&until=2100-01-01", headers=headers)
    assert response.status_code == 403
    assert client.get("/api/v1/status").json()["calls"] == 1


@pytest.mark.parametrize(
    "path", ["/api/v1/status", "/metrics", "/openapi.json", "/api/v1/export", "/nowhere", "/api/v1/calls/x"]
)
def test_without_the_token_there_is_no_data(path: str, locked: TestClient) -> None:
    """Nothing is told to somebody who does not know the token, not even what there is not."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Cookie": "a=b"}):
        response = locked.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    assert locked.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code in (200, 404)


def test_a_browser_is_sent_to_the_login(locked: TestClient) -> None:
    """Who opens the page without the token sees the login and its files, and nothing else."""
    response = locked.get("/", headers=HTML, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/login")
    assert locked.get("/login").status_code == 200
    assert locked.get("/static/login.js").status_code == 200


def test_login_gives_a_cookie_and_takes_it_back(locked: TestClient) -> None:
    """The right token opens the door; the cookie does not hold it, and scripts cannot read it."""
    wrong = locked.post("/api/v1/login", json={"token": "a-wrong-token-of-some-length"}, headers=INTENT)
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = locked.post("/api/v1/login", json={"token": TOKEN}, headers=INTENT)
    cookie = right.headers["set-cookie"]
    assert right.status_code == 204
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert locked.get("/api/v1/status").status_code == 200
    locked.post("/api/v1/logout", headers=INTENT)
    assert locked.get("/api/v1/status").status_code == 401


@pytest.mark.parametrize("other", ["a=b", 'prefs={"a":1}', "x", 'a="b', "a[]=1", "ä=1", "a@b=1", "a/b=1", "=", ""])
def test_cookies_of_others_do_not_matter(other: str, locked: TestClient) -> None:
    """All applications of a host share its cookies; one of a form that no standard allows locks nobody out."""
    rules = make_rules(token=TOKEN, allowed_hosts=["localhost"])
    for value, status in ((rules.cookie_value, 200), ("wrong", 401)):
        own = f"{rules.cookie_name}={value}"
        for sent in (f"{other}; {own}", f"{own}; {other}"):
            assert locked.get("/api/v1/status", headers={"Cookie": sent.encode()}).status_code == status


def test_behind_a_proxy_that_takes_a_path_away(store: UsageStore) -> None:
    """The login and its cookie are where the browser sees them."""
    client = make_client(store, token=TOKEN)
    client = TestClient(client.app, base_url=str(client.base_url), root_path="/tokens")
    assert client.get("/", headers=HTML, follow_redirects=False).headers["location"] == "/tokens/login"
    cookie = client.post("/api/v1/login", json={"token": TOKEN}, headers=INTENT).headers["set-cookie"]
    assert "Path=/tokens;" in cookie


@pytest.mark.parametrize("said", ["/tokens/", "tokens", "tokens/", "//tokens//", "/", "/a/b/"])
def test_slashes_of_the_path_that_a_proxy_takes_away_do_not_matter(said: str, store: UsageStore) -> None:
    """With a slash too many or too few the login, its files and what it lets in are where they are without."""
    plain = make_client(store, token=TOKEN)
    root = f"/{said.strip('/')}".rstrip("/")

    async def behind(scope: Any, receive: Any, send: Any) -> None:  # a server puts what it was told before each path
        await plain.app({**scope, "root_path": said, "path": f"{said}{scope['path']}"}, receive, send)

    client = TestClient(behind, base_url=str(plain.base_url))

    def asked(path: str, **headers: str) -> tuple[int, str | None]:
        response = client.get(path, headers={**HTML, **headers}, follow_redirects=False)
        return response.status_code, response.headers.get("location")

    assert asked("/") == (303, f"{root}/login")
    for path in ("/login", "/static/app.js", "/healthz"):
        assert asked(path) == (200, None)
    assert asked("/api/v1/status", Authorization=f"Bearer {TOKEN}") == (200, None)
    cookie = client.post("/api/v1/login", json={"token": TOKEN}, headers=INTENT).headers["set-cookie"]
    assert f"Path={root or '/'};" in cookie


def test_login_is_of_this_page_only(locked: TestClient) -> None:
    """No other site can log a visitor in."""
    assert locked.post("/api/v1/login", json={"token": TOKEN}).status_code == 403
    assert locked.post("/api/v1/login", content=b"[", headers=INTENT).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://[::1"}, {"host": "evil.example"}],
    ids=str,
)
def test_live_channel_is_for_own_pages(headers: dict[str, str], client: TestClient) -> None:
    """Browsers let any page open a WebSocket; only pages of this site are answered."""
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://127.0.0.1:4321/api/v1/live", headers=headers),
    ):
        pass


def test_live_channel_needs_the_token(locked: TestClient) -> None:
    """It is closed without it, and open with it."""
    with pytest.raises(WebSocketDisconnect), locked.websocket_connect("ws://127.0.0.1:4321/api/v1/live"):
        pass
    known = {"Authorization": f"Bearer {TOKEN}"}
    with locked.websocket_connect("ws://127.0.0.1:4321/api/v1/live", headers=known) as socket:
        assert socket.receive_json() == {"type": "ready"}


@pytest.mark.parametrize("token", ["", "short", " " * 40])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    """It has sixteen characters that are none of space, or more."""
    with pytest.raises(DashboardError, match="could be guessed"):
        make_rules(token=token, allowed_hosts=["localhost"])


def test_tokens_differ() -> None:
    """Each is another one, and long enough."""
    assert make_token() != make_token()
    assert make_rules(token=make_token(), allowed_hosts=["*"]).token


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:80", "localhost"),
        ("A.B.", "a.b"),
        ("[::1]:80", "::1"),
        ("::1", "::1"),
        (None, ""),
        ("[", ""),
        ("a:b:c", "a:b:c"),
    ],
)
def test_host_names(header: str | None, name: str) -> None:
    """A header's name, without what does not matter."""
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        (EVERYWHERE, False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only what stays on this machine is loopback; a name that is not known is none."""
    assert is_loopback(host) is expected


def test_a_port_in_use_is_told() -> None:
    """The error names the port, and the way out."""
    with bind("127.0.0.1", 0) as listener, pytest.raises(DashboardError, match=r"--port 0"):
        bind("127.0.0.1", listener.getsockname()[1])


# The command


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "usage.db"
    store = UsageStore(parse_target(path))
    store.add([make_call()])
    store.close()
    return path


def started(database: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "langchain_tokens.cli", "dashboard", "--db", str(database), "--no-open", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answer(request: urllib.request.Request | str) -> tuple[int, Any]:
    """The status of an answer and its JSON; of a refusal, the status alone."""
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310  # our own
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        refusal.close()  # it holds the connection
        return refusal.code, None


def test_command_serves_and_ends_at_once(database: Path) -> None:
    """It prints where it is, answers to the names that it has, and ends well on Ctrl-C although a page is open."""
    process = started(database, "--port", "0", "--allowed-hosts", "app.example.com")
    url = said(process)
    for name, status in (("app.example.com", 200), ("localhost", 200), ("other.example.com", 400)):
        request = urllib.request.Request(f"{url}api/v1/status", headers={"Host": name})  # noqa: S310  # our own
        assert answer(request)[0] == status
    assert answer(f"{url}api/v1/status")[1]["calls"] == 1
    with connect(f"{url.replace('http', 'ws')}api/v1/live") as page:
        assert json.loads(page.recv()) == {"type": "ready"}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_command_demands_a_token_beyond_this_machine(database: Path) -> None:
    """Who listens everywhere without a token gets one, shown once, behind a #."""
    process = started(database, "--host", EVERYWHERE, "--port", "0")
    url = said(process)
    assert answer(f"{url}api/v1/status")[0] == 401
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    line = next(line for line in err.splitlines() if "login#" in line)
    assert len(line.split("#")[1]) >= 32
    assert "#" not in out


def test_command_takes_the_token_of_the_environment(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was given is demanded, and never printed."""
    monkeypatch.setenv("LANGCHAIN_TOKENS_TOKEN", TOKEN)
    process = started(database, "--port", "0")
    known = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{said(process)}api/v1/status", headers=known)  # noqa: S310  # our own
    assert answer(request)[0] == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert TOKEN not in out + err


def test_command_goes_by_the_environment(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host, port, path and names are those of the variables; an option wins, an empty variable says nothing."""
    said_names = {
        "HOST": "localhost",
        "PORT": "1",
        "ROOT_PATH": "/tokens",
        "ALLOWED_HOSTS": "a.example.com, b.example.com",
    }
    for name, value in said_names.items():
        monkeypatch.setenv(f"LANGCHAIN_TOKENS_{name}", value)
    process = started(database, "--port", "0")
    url = said(process)
    assert url.startswith("http://localhost:")
    request = urllib.request.Request(f"{url}openapi.json", headers={"Host": "b.example.com"})  # noqa: S310  # our own
    assert answer(request)[1]["servers"] == [{"url": "/tokens"}]
    request = urllib.request.Request(f"{url}openapi.json", headers={"Host": "c.example.com"})  # noqa: S310  # our own
    assert answer(request)[0] == 400
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    for name in said_names:
        monkeypatch.setenv(f"LANGCHAIN_TOKENS_{name}", "")
    process = started(database, "--port", "0")
    assert said(process).startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("PORT", "http", "'--port' (env var: 'LANGCHAIN_TOKENS_PORT')"),
        ("PORT", "70000", "'--port' (env var: 'LANGCHAIN_TOKENS_PORT')"),
        ("ALLOWED_HOSTS", "https://a.example.com/", "'https://a.example.com/' is no host name, such as"),
        ("ROOT_PATH", "https://a.example.com/tokens", "'https://a.example.com/tokens' is no path, such as /tokens"),
    ],
)
def test_command_refuses_a_wrong_environment(
    database: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str
) -> None:
    """One error says which variable, and nothing is served; exit code 2."""
    monkeypatch.setenv(f"LANGCHAIN_TOKENS_{name}", value)
    process = started(database)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.count("Error: ")) == (2, "", 1)
    assert error in err
    assert f"LANGCHAIN_TOKENS_{name}" in err


def test_command_says_that_the_port_is_taken(database: Path) -> None:
    """Exit code 1 and one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = started(database, "--port", str(taken.getsockname()[1]))
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "--port 0" in err
    assert len(err.splitlines()) == 1


def test_command_makes_no_database(tmp_path: Path) -> None:
    """A file that is not there is told, and not made."""
    process = started(tmp_path / "none.db", "--port", "0")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "there is no database" in err
    assert not (tmp_path / "none.db").exists()
