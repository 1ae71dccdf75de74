"""What was said in a call, by HTTP: whole and exact, from one route alone, for those alone who may look, and kept nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from langchain_tokens.dashboard.saying import Said
from langchain_tokens.said import ContentFact
from langchain_tokens.store.engine import writing
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact
from tests.dashboards import TOKEN, make_client

if TYPE_CHECKING:
    from tests.databases import Database

pytest_plugins = ("tests.databases",)
CONTENT = "/api/v1/calls/call-1/content"
MESSAGES = [
    {"role": "system", "text": "Be brief. \u732b </script>"},
    {"role": "tool", "text": "\u001b[31m", "name": "find", "tool_call_id": "t1"},
    {"role": "human", "text": "[image, image/png, 304 bytes]", "tool_results": [{"tool_call_id": None, "text": "42"}]},
]
ANSWER = {
    "text": "",
    "reasoning": "hm",
    "tool_calls": [
        {"id": "t2", "name": "find", "arguments": {"number": 9_007_199_254_740_993, "deep": [1, 0.5, None]}}
    ],
    "alternatives": [{"text": "or so\u2026 [7 characters cut]"}],
}


def tell(store: UsageStore, at: datetime = NOON, **more: Any) -> None:
    """Store a call with what was said in it, and one without."""
    calls = [make_call(call_id=name, run_id="run-1", started_at=at) for name in ("call-1", "call-2")]
    said = ContentFact(call_id="call-1", messages=json.dumps(MESSAGES), answer=json.dumps(ANSWER), **more)
    store.add(calls, [make_fact("run-1")], [said])


def test_all_of_it_is_given(store: UsageStore) -> None:
    """It is what Python reads, on each database, but for integers that a browser would round: they are text."""
    tell(store, answer_cut=True)
    response = make_client(store).get(CONTENT)
    assert response.status_code == 200, response.text
    Said.model_validate_json(response.content, strict=True)
    found, known = response.json(), store.content("call-1")
    assert known is not None
    assert found["messages"] == list(known.messages) == MESSAGES
    exact = json.loads(json.dumps(ANSWER).replace("9007199254740993", '"9007199254740993"'))
    assert (found["answer"], known.answer) == (exact, ANSWER)
    assert (found["messages_cut"], found["answer_cut"]) == (False, True)
    assert (found["call_id"], datetime.fromisoformat(found["started_at"])) == ("call-1", NOON)


def test_nobody_keeps_it(store: UsageStore) -> None:
    """No cache may hold it, it has no tag to ask by, and once it is pruned it is gone at once."""
    tell(store)
    client = make_client(store)
    response = client.get(CONTENT)
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
    assert client.get(CONTENT, headers={"If-None-Match": "*"}).status_code == 200
    store.prune_content("0d")
    assert client.get(CONTENT).status_code == 404


@pytest.mark.parametrize("call_id", ["call-2", "nobody", "x%2Fy", "%F0%9F%90%88"])
def test_what_is_not_kept_is_a_problem(call_id: str, store: UsageStore) -> None:
    """Of a call that was not captured, and of one that there is not."""
    tell(store)
    response = make_client(store).get(f"/api/v1/calls/{call_id}/content")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.headers["cache-control"] == "no-store"
    if "%2F" not in call_id:
        assert "capture_content=True" in response.json()["detail"]


def test_a_name_that_no_database_takes(store: UsageStore) -> None:
    """A NUL is no failure of the server."""
    assert make_client(store).get("/api/v1/calls/a%00b/content").status_code == 422


def test_it_is_read_only_and_behind_the_guard(store: UsageStore) -> None:
    """It needs the token, as a HEAD does; other hosts are refused, and no method changes it."""
    tell(store)
    locked = make_client(store, token=TOKEN)
    assert (locked.get(CONTENT).status_code, locked.head(CONTENT).status_code) == (401, 401)
    assert "brief" not in locked.get(CONTENT, headers={"Authorization": "Bearer wrong-token-of-some-length"}).text
    known = {"Authorization": f"Bearer {TOKEN}"}
    assert (locked.get(CONTENT, headers=known).status_code, locked.head(CONTENT, headers=known).content) == (200, b"")
    assert locked.get(CONTENT, headers={**known, "Host": "evil.example.com"}).status_code == 400
    for method in ("POST", "PUT", "DELETE"):
        said = {**known, "X-Requested-With": "langchain_tokens"}
        assert locked.request(method, CONTENT, headers=said).status_code == 405


def test_the_description_has_it(store: UsageStore) -> None:
    """The API's description names the shape, and a problem where none is kept."""
    described = make_client(store).get("/openapi.json").json()
    answers = described["paths"]["/api/v1/calls/{call_id}/content"]["get"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Said")
    assert "application/problem+json" in answers["404"]["content"]
    shape = described["components"]["schemas"]["Said"]["properties"]
    assert set(shape) == {"call_id", "started_at", "messages", "answer", "messages_cut", "answer_cut"}


def test_the_live_channel_says_nothing_of_it(
    lasting_database: Database, make_store: Callable[[Database], UsageStore]
) -> None:
    """Who listens hears that something changed, and no more, when a call comes with what was said in it."""
    client = make_client(make_store(lasting_database))
    with client.websocket_connect("ws://127.0.0.1:4321/api/v1/live") as socket:
        assert socket.receive_text() == '{"type":"ready"}'
        tell(make_store(lasting_database), at=datetime.now(UTC))
        assert socket.receive_text() == '{"type":"changed"}'


def test_a_reader_who_may_not(postgresql_database: Database, make_store: Callable[[Database], UsageStore]) -> None:
    """Where the database lets the dashboard's user read all but this, all but this is answered."""
    store = make_store(postgresql_database)
    tell(store)
    reader = "reader_of_numbers"
    with writing(store._engine(), store.target) as connection:
        connection.execute(text(f"CREATE ROLE {reader} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"))
        connection.execute(text(f"REVOKE SELECT ON llm_call_content FROM {reader}"))
    try:
        known = UsageStore(parse_target(f"{postgresql_database.url}&options=-c%20role%3D{reader}"))
        client = make_client(known)
        assert client.get("/api/v1/calls/call-1").status_code == 200
        refused = client.get(CONTENT)
        assert (refused.status_code, "brief" in refused.text) == (503, False)
        assert "permission denied" in refused.json()["detail"]
        known._opener._engine.dispose()
    finally:
        with writing(store._engine(), store.target) as connection:
            connection.execute(text(f"DROP OWNED BY {reader}"))
            connection.execute(text(f"DROP ROLE {reader}"))
