from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from langchain_tokens import Budget
from langchain_tokens.budgetstates import budget_states
from langchain_tokens.call import Call
from langchain_tokens.dashboard import create_app
from langchain_tokens.reports import findings, forecasting
from langchain_tokens.said import ContentFact
from langchain_tokens.store.paging import ORDERS
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target
from tests.builders import NOON, make_call, make_fact, screen_calls
from tests.dashboards import HOSTILE, INTENT, SCRIPT, crew_calls, crew_runs, make_client

pytest_plugins = ("tests.databases",)
API = "/api/v1"


@pytest.fixture
def filled(store: UsageStore) -> UsageStore:
    """A store of each kind with the crew's calls and runs."""
    calls = crew_calls()
    store.add(calls, crew_runs(calls))
    return store


@pytest.fixture
def client(filled: UsageStore) -> TestClient:
    return make_client(filled)


@pytest.fixture(scope="module")
def shelf() -> Iterator[UsageStore]:
    """A store with the crew's calls, for all tests that only read."""
    store = UsageStore(parse_target("sqlite://"))
    store.add(crew_calls())
    yield store
    store._opener._engine.dispose()


@pytest.fixture(scope="module")
def reader(shelf: UsageStore) -> TestClient:
    return make_client(shelf)


def asked(client: TestClient, path: str, **parameters: Any) -> Any:
    """An answer that is well."""
    response = client.get(f"{API}/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


Ask = Callable[[UsageStore], Any]
SUMS: list[tuple[str, Ask]] = [
    ("breakdown", lambda store: store.breakdown()),
    ("breakdown?by=chain", lambda store: store.breakdown("chain")),
    ("breakdown?by=agent&by=model", lambda store: store.breakdown("agent", "model")),
    ("breakdown?by=agent&limit=2", lambda store: store.breakdown("agent", limit=2)),
    ("breakdown?by=tag:team", lambda store: store.breakdown("tag:team")),
    (
        "breakdown?by=chain&agent=RAGAgent&agent=(none)",
        lambda store: store.breakdown("chain", agent=["RAGAgent", None]),
    ),
    ("breakdown?by=chain&tag=team=blue", lambda store: store.breakdown("chain", tags={"team": "blue"})),
    ('breakdown?by=chain&tag="team"=red', lambda store: store.breakdown("chain", tags={"team": "red"})),
    (
        "breakdown?by=chain&session=s-new&status=ok",
        lambda store: store.breakdown("chain", session="s-new", status="ok"),
    ),
    ("timeline", lambda store: store.timeline()),
    ("timeline?every=hour&by=model", lambda store: store.timeline("hour", by="model")),
    ("timeline?every=month&until=2100-01-01", lambda store: store.timeline("month", until="2100-01-01")),
    ("sessions?limit=1", lambda store: store.sessions(limit=1)),
]


@pytest.mark.parametrize(("path", "ask"), SUMS, ids=[path for path, _ in SUMS])
def test_sums_are_those_of_the_store(path: str, ask: Ask, shelf: UsageStore, reader: TestClient) -> None:
    """Each question by HTTP has the answer that Python gives, to the last digit."""
    response = reader.get(f"{API}/{path}")
    assert response.status_code == 200, response.text
    assert response.json() == json.loads(ask(shelf).to_json())


def test_sums_of_any_database(client: TestClient, filled: UsageStore) -> None:
    """The same questions on each kind of database."""
    for path, ask in SUMS:
        assert client.get(f"{API}/{path}").json() == json.loads(ask(filled).to_json()), path


def test_overview(client: TestClient) -> None:
    """The numbers above the fold: totals, what they do not cover, the time before, and what follows from them."""
    found = asked(client, "overview", since="7d")
    assert found["total"]["calls"] == 6
    assert found["total"]["unpriced_calls"] == 2
    assert found["total"]["calls_without_usage"] == 1
    assert Decimal(found["total"]["cost_usd"]) == Decimal("0.9")
    assert found["previous"]["calls"] == 1
    assert (found["runs"], found["sessions"]) == (2, 2)
    assert found["tokens_per_run"] == found["total"]["total_tokens"] / 2
    assert Decimal(found["cost_per_run_usd"]) == Decimal("0.45")
    assert found["most_used_model"]["model"] == "gpt-4o-mini"
    assert found["most_expensive_model"]["model"] == "gpt-4o"
    unpriced = 630  # tokens of the call that failed
    assert Decimal(found["cost_per_1k_tokens_usd"]) == Decimal("0.9") * 1000 / (
        found["total"]["total_tokens"] - unpriced
    )


def test_cost_per_token_leaves_out_hosts_without_a_price(store: UsageStore) -> None:
    """Of a model that two providers serve, the tokens of the one whose price is unknown do not make it look cheap."""
    hosts = {"groq": {"cost": "0.5", "tokens": (900, 100)}, "ollama": {"tokens": (9_000, 1_000)}}
    store.add([make_call(model="llama-3.3-70b", provider=name, **more) for name, more in hosts.items()])
    found = asked(make_client(store), "overview")
    assert Decimal(found["cost_per_1k_tokens_usd"]) == Decimal("0.5")
    assert found["most_used_model"]["calls"] == 2


@pytest.mark.parametrize("filters", [{}, {"chain": "c"}, {"since": "30d"}])
def test_means_of_runs_are_those_of_runs_that_know_it(filters: dict[str, str], store: UsageStore) -> None:
    """Runs whose tokens or price nobody knows do not make the others look smaller."""
    names: dict[str, Any] = {"chain": "c", "started_at": datetime.now(UTC) - timedelta(hours=1)}
    known = make_call(**names, run_id="known", tokens=(900, 100), cost="0.5")
    unpriced = [make_call(**names, run_id=f"unpriced-{place}", tokens=(900, 100)) for place in range(3)]
    silent = [make_call(**names, run_id=f"silent-{place}", tokens=None) for place in range(5)]
    store.add([known, make_call(**names, run_id="known", tokens=None), *unpriced, *silent])
    found = asked(make_client(store), "overview", **filters)
    assert found["runs"] == 9
    assert (found["tokens_per_run"], Decimal(found["cost_per_run_usd"])) == (1_000, Decimal("0.5"))


def test_overview_of_nothing_knows_nothing(store: UsageStore) -> None:
    """An empty store has counts of zero, and no number that somebody would have to know."""
    found = asked(make_client(store), "overview")
    assert (found["total"]["calls"], found["runs"], found["sessions"]) == (0, 0, 0)
    unknown = ("tokens_per_run", "cost_per_run_usd", "cost_per_1k_tokens_usd", "most_used_model", "previous")
    assert [found[name] for name in unknown] == [None] * len(unknown)
    assert found["total"]["total_tokens"] is None


def test_status_says_when_current_began(client: TestClient, filled: UsageStore) -> None:
    """What is "current" began with the newest session's first call, where that is no day ago."""
    found = asked(client, "status")
    first = filled.calls(session="s-new", order="started_at", limit=1)[0]
    assert datetime.fromisoformat(found["current_since"]) == first.started_at
    assert found["calls"] == len(crew_calls())
    assert asked(client, "breakdown", since=found["current_since"])["total"]["calls"] == 4


def test_pages_have_each_call_once(store: UsageStore) -> None:
    """Page by page, in any order, with equal and unknown values and calls that arrive in between, none is missed."""
    client = make_client(store)
    for order in ORDERS:
        costs = ("0.5", None, "0.5", "0.000001", None, "2", "0.5")
        calls = [call_of(order, number, cost) for number, cost in enumerate(costs)]
        store.add(calls)
        seen = walked(client, store, order)
        assert len(set(seen)) == len(seen)
        old = [call.call_id for call in store.calls(order=order, session=order) if "late" not in call.call_id]
        assert [call_id for call_id in seen if "late" not in call_id] == old, order


def call_of(order: str, number: int, cost: str | None) -> Call:
    """A call that has its place with others of the same value."""
    at, name = NOON + timedelta(hours=number // 3), f"{order}-{number}"
    tokens = None if number == 3 else (number // 2, 5)
    return make_call(call_id=name, session=order, started_at=at, cost=cost, tokens=tokens, duration_ms=number % 2)


def walked(client: TestClient, store: UsageStore, order: str) -> list[str]:
    """The calls of all pages; after each a call arrives that belongs before what was seen."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = asked(client, "calls", limit=2, order=order, session=order, **cursor)
        seen += [call["call_id"] for call in page["calls"]]
        early = NOON + timedelta(days=9 if order == "-started_at" else -9)
        store.add([make_call(call_id=f"late-{order}-{len(seen)}", session=order, started_at=early, cost="9")])
        if page["next"] is None or len(seen) > 40:
            return seen
        cursor = {"cursor": page["next"]}


def test_pages_of_runs(store: UsageStore) -> None:
    """Runs that start at the same moment are on one page or the next, never on both or none."""
    store.add([], [make_fact(f"r{number}", started_at=NOON + timedelta(hours=number // 3)) for number in range(7)])
    client, seen, cursor = make_client(store), [], None
    while True:
        page = asked(client, "runs", limit=2, **({} if cursor is None else {"cursor": cursor}))
        seen += [run["run_id"] for run in page["runs"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [run.run_id for run in store.runs()]


def test_run_has_totals_tree_and_calls(store: UsageStore) -> None:
    """A run is shown with the sums, the places and the calls that Python has of it."""
    store.add(screen_calls(), [make_fact(name="nl2sql")])
    found = asked(make_client(store), "runs/run-1")
    run = store.runs()[0]
    assert found["tree"] == json.loads(json.dumps(run.tree().to_dict()))
    assert [call["call_id"] for call in found["calls"]] == [call.call_id for call in run.calls]
    assert found["total"]["total_tokens"] == run.total.total_tokens == 2_072
    assert Decimal(found["run"]["cost_usd"]) == run.total.cost_usd


def test_call_has_all_that_is_known(client: TestClient, filled: UsageStore) -> None:
    """One call, with nothing that is unknown made up."""
    found, call = asked(client, "calls/crew-1"), filled.calls(chain="search")[0]
    assert found["usage"]["cache_read_tokens"] == 1_000
    assert Decimal(found["cost_usd"]) == call.cost_usd
    assert found["tokens_per_second"] == call.tokens_per_second
    assert asked(client, "calls/crew-7")["usage"] is None


def test_dimensions_offer_the_names_there_are(reader: TestClient) -> None:
    """Filter menus know names, tags, and that some have none."""
    found = asked(reader, "dimensions")
    assert set(found["agent"]) == {"Orchestrator", "RAGAgent", "SQLAgent", HOSTILE, None}
    assert found["tags"] == {"team": ["blue"]}


def test_prices_of_used_models(reader: TestClient) -> None:
    """Each model that was used, with its rates as text."""
    models = {model["model"]: model for model in asked(reader, "prices")["models"]}
    assert set(models) == {"gpt-4o", "gpt-4o-mini"}
    assert Decimal(models["gpt-4o"]["unit_prices"]["input_mtok"]) > 0


def test_judgements_are_those_of_python(reader: TestClient, shelf: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets, findings and what will come are what the functions say."""
    moments = [call.started_at for call in shelf.calls()]
    now = max(moments) + timedelta(seconds=1)
    monkeypatch.setattr(forecasting, "now_or", lambda _: now)  # or the month may begin at any line
    budgets = [Budget(limit_usd="2", name="team"), Budget(limit_tokens=5_000, per=("agent", "month"))]
    client = make_client(shelf, budgets=budgets)
    told = asked(client, "budgets")["budgets"]
    assert [each["label"] for each in told] == [state.label for state in budget_states(shelf, budgets)]
    assert Decimal(told[0]["spent"]) == Decimal("0.93")
    assert asked(reader, "findings", chain="query") == findings(shelf, chain="query").to_dict()
    assert asked(reader, "budgets") == {"budgets": []}
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    coming = asked(reader, "forecast", measure="calls")
    assert coming["calls"] == coming["spent"] == sum(moment >= month for moment in moments)
    assert coming == forecasting.forecast(shelf, measure="calls").to_dict()
    assert asked(reader, "unusual")["rate"] == 0.01


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_export_is_what_is_filtered(kind: str, client: TestClient, filled: UsageStore) -> None:
    """A file has exactly the calls that were asked for, each with its cost; unknown is empty or null."""
    response = client.get(f"{API}/export", params={"format": kind, "session": "s-new"})
    text = response.text
    if kind == "csv":
        rows: list[Any] = list(csv.DictReader(io.StringIO(text)))
    else:
        rows = json.loads(text)["calls"] if kind == "json" else [json.loads(line) for line in text.splitlines()]
    total = filled.breakdown(session="s-new").total
    assert len(rows) == total.calls
    assert sum(Decimal(row["cost_usd"]) for row in rows if row["cost_usd"]) == total.cost_usd
    assert {row["chain"] for row in rows} == {"plan", "search", "answer", SCRIPT}
    assert f".{kind}" in response.headers["content-disposition"]


def test_export_of_many_calls_is_whole(store: UsageStore) -> None:
    """More calls than are held at a time arrive, each once, and those that come meanwhile do not."""
    store.add([make_call(call_id=f"{number:05}") for number in range(2_345)])
    store.add([make_call(call_id="later", started_at=datetime.now(UTC) + timedelta(hours=1))])
    lines = make_client(store).get(f"{API}/export?format=jsonl").text.splitlines()
    assert [json.loads(line)["call_id"] for line in lines] == [f"{number:05}" for number in range(2_345)]


def test_a_cell_is_no_formula(store: UsageStore) -> None:
    """A name that a spreadsheet would run is text in the CSV."""
    store.add([make_call(chain="=1+1")])
    assert ",'=1+1," in make_client(store).get(f"{API}/export").text


def test_history_goes_only_as_it_was_confirmed(client: TestClient, filled: UsageStore) -> None:
    """What goes is counted first; another count deletes nothing; the right one deletes just that."""
    found = asked(client, "history", session="s-new")
    assert (found["calls"], found["runs"], found["sessions"]) == (4, 1, 1)
    assert Decimal(found["cost_usd"]) == Decimal("0.8")
    terms = {"session": "s-new", "until": found["until"]}
    wrong = client.delete(f"{API}/history", params={**terms, "confirm": 3}, headers=INTENT)
    assert wrong.status_code == 409
    filled.add([make_call(call_id="later", session="s-new", started_at=datetime.now(UTC) + timedelta(hours=1))])
    right = client.delete(f"{API}/history", params={**terms, "confirm": 4}, headers=INTENT)
    assert right.json() == {"calls": 4}
    assert {call.call_id for call in filled.calls(session="s-new")} == {"later"}


def test_nothing_is_deleted_without_a_filter(client: TestClient, filled: UsageStore) -> None:
    """Everything goes only by a range that says so."""
    response = client.delete(f"{API}/history", params={"confirm": len(crew_calls())}, headers=INTENT)
    assert response.status_code == 422
    assert filled.breakdown().total.calls == len(crew_calls())


def test_read_only_deletes_nothing(filled: UsageStore) -> None:
    """A dashboard that only reads refuses, and says so in its status."""
    client = make_client(filled, read_only=True)
    response = client.delete(f"{API}/history", params={"confirm": 4, "session": "s-new"}, headers=INTENT)
    assert response.status_code == 403
    assert asked(client, "status")["is_read_only"] is True
    assert filled.breakdown(session="s-new").total.calls == 4


PROBLEMS = [
    ("breakdown?by=colour", 422, "unknown dimension 'colour'"),
    ("breakdown?colour=red", 422, "colour"),
    ("breakdown?by=model&by=model", 422, "stands twice"),
    ("breakdown?since=soon", 422, "since='soon' is not a moment"),
    ("breakdown?since=2026-11-02&until=2026-11-01", 422, "empty range"),
    ("breakdown?tag=team", 422, "KEY=VALUE"),
    ("breakdown?limit=-1", 422, "limit"),
    ("timeline?every=year", 422, "every"),
    ("unusual?by=colour", 422, "unknown by='colour'"),
    ("forecast?until=7d", 422, "finds its range itself"),
    ("calls?cursor=abc", 422, "none that a page has given"),
    ("calls?limit=0", 422, "limit"),
    ("calls/nobody", 404, "no call 'nobody'"),
    ("runs/nobody", 404, "no run 'nobody'"),
    ("nowhere", 404, ""),
]


@pytest.mark.parametrize(("path", "status", "said"), PROBLEMS, ids=[path for path, _, _ in PROBLEMS])
def test_errors_are_problems(path: str, status: int, said: str, reader: TestClient) -> None:
    """Whatever cannot be asked is told as problem+json that says what was found."""
    response = reader.get(f"{API}/{path}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert said in document["detail"]


def test_text_that_a_database_refuses_is_no_failure(client: TestClient) -> None:
    """SQLite can be asked for a name with a NUL, PostgreSQL refuses it; neither is a fault of the server."""
    assert client.get(f"{API}/calls?session=%00").status_code in (200, 422)


def test_cursor_of_another_order_is_refused(reader: TestClient) -> None:
    """A page's place has a meaning in its own order only."""
    cursor = asked(reader, "calls", limit=1)["next"]
    response = reader.get(f"{API}/calls", params={"limit": 1, "order": "-cost_usd", "cursor": cursor})
    assert response.status_code == 422
    assert "in the order" in response.json()["detail"]


def test_a_poller_is_spared_what_it_has(client: TestClient, filled: UsageStore) -> None:
    """The same answer is 304 with nothing in it; another one is sent."""
    first = client.get(f"{API}/breakdown?by=chain")
    again = client.get(f"{API}/breakdown?by=chain", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    filled.add([make_call(chain="new")])
    other = client.get(f"{API}/breakdown?by=chain", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_metrics_count_and_escape(store: UsageStore) -> None:
    """Prometheus gets counters by name; hostile names stay inside their quotes; unknown has no line."""
    store.add([make_call(model='a"b\\c\nd', provider="p", cost="0.5"), make_call(model="free", tokens=None)])
    response = make_client(store).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    labels = '{provider="p",model="a\\"b\\\\c\\nd",agent="(none)",chain="(unattributed)"}'
    assert f"langchain_tokens_calls_total{labels} 1" in lines
    assert f"langchain_tokens_cost_usd_total{labels} 0.500000000000" in lines
    assert not [line for line in lines if 'model="free"' in line and "tokens_total" in line and "TYPE" not in line]


def test_mounted_in_an_application(shelf: UsageStore) -> None:
    """Below another application's path the page, its files, the API and its description are there."""
    host = FastAPI()
    host.mount("/tokens", create_app(shelf))
    client = TestClient(host, base_url="http://localhost")
    assert client.get("/tokens").url.path == "/tokens/"
    assert 'src="static/app.js"' in client.get("/tokens/").text
    assert client.get("/tokens/static/app.js").status_code == 200
    assert client.get("/tokens/api/v1/status").json()["is_read_only"] is True
    assert client.get("/tokens/openapi.json").json()["servers"] == [{"url": "/tokens"}]
    with client.websocket_connect("ws://localhost/tokens/api/v1/live") as socket:
        assert socket.receive_json() == {"type": "ready"}


def test_live_tells_of_what_another_store_wrote(lasting_database: Any, make_store: Callable[[Any], UsageStore]) -> None:
    """An open page is told once changes are seen, and of the change itself."""
    reader, writer = make_store(lasting_database), make_store(lasting_database)
    reader.add([make_call()])
    with make_client(reader).websocket_connect(f"ws://127.0.0.1:4321{API}/live") as socket:
        assert socket.receive_json() == {"type": "ready"}
        writer.add([make_call()])
        assert socket.receive_json() == {"type": "changed"}


def test_files_are_compressed(reader: TestClient) -> None:
    """The page's own files arrive compressed, and not again."""
    client = reader
    plain = client.get("/static/echarts.js", headers={"Accept-Encoding": "identity"})
    packed = client.get("/static/echarts.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) * 2 < len(plain.content) == len(packed.content)
    assert client.get("/static/echarts.js", headers={"If-None-Match": packed.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("name", ["nothing.js", "../rules.py", "%2e%2e/rules.py", "views/../../rules.py", ""])
def test_only_the_pages_files_are_served(name: str, reader: TestClient) -> None:
    """No other file of the package, or of the machine, can be asked for."""
    assert reader.get(f"/static/{name}").status_code == 404


def test_no_answer_holds_what_was_said() -> None:
    """What a handler captured is in no answer of the API that reads, nor in a file that it hands out, but in one."""
    store = UsageStore(parse_target("sqlite://"))
    call = make_call(run_id="run-1", session="s", started_at=datetime.now(UTC) - timedelta(minutes=1))
    messages = json.dumps([{"role": "human", "text": "where does Ada live"}])
    store.add([call], [make_fact("run-1", session="s")], [ContentFact(call_id=call.call_id, messages=messages)])
    assert store.content(call.call_id) is not None
    client, asked_for = make_client(store), 0
    schema = client.get("/openapi.json").json()
    files = [f"{API}/export?format={kind}" for kind in ("csv", "json", "jsonl")]
    for path in [*files, *(path for path, ways in schema["paths"].items() if "get" in ways)]:
        response = client.get(path.replace("{run_id}", "run-1").replace("{call_id}", call.call_id))
        asked_for += response.status_code == 200
        assert ("Ada" in response.text) == path.endswith("/content"), path
    assert asked_for > 10
    store._opener._engine.dispose()
