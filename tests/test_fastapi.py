"""Usage in an application's own responses: the middleware, the dependency, the route class, streams and background tasks."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from langchain_core.messages import BaseMessage
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from langchain_tokens import Run, TokensError, TokenUsageHandler, label, track
from langchain_tokens.integrations.fastapi import (
    RequestUsage,
    TokenUsageMiddleware,
    TokenUsageRoute,
    WithTokenUsage,
    retry_usage,
    usage_event,
)
from langchain_tokens.registry import REGISTRY
from langchain_tokens.trouble import Warnings
from tests.models import Reply, ScriptedChat, in_turn


def said(tokens: tuple[int, int]) -> dict[str, int]:
    """Usage as a client hands it over."""
    return {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}


def counting_model() -> ScriptedChat:
    """A model whose input tokens are the number that it is asked with, and whose output is one token."""

    def script(messages: list[BaseMessage]) -> Reply:
        return Reply(usage=said((int(str(messages[-1].content)), 1)))

    return ScriptedChat(script=script)


MODEL = counting_model()
COUNTS = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}


class Answer(WithTokenUsage):
    """A response with its usage."""

    answer: str


def ask(number: int = 7, chain: str = "sql_generation") -> None:
    """One call to the model."""
    label(MODEL, chain=chain).invoke(str(number))


async def ask_async(number: int = 7) -> None:
    """The same, asynchronous."""
    await label(MODEL, chain="sql_generation").ainvoke(str(number))


def make_app(**options: Any) -> FastAPI:
    """An application with an endpoint of each kind."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db", **options)

    @app.post("/query")
    async def query(usage: RequestUsage) -> Answer:
        await ask_async()
        return Answer(answer="42", llm_token_usage=usage.to_response())

    @app.post("/plain")
    def plain(usage: RequestUsage) -> Answer:
        ask()
        return Answer(answer="42", llm_token_usage=usage.to_response())

    @app.get("/items/{item}")
    async def item(item: int) -> dict[str, int]:
        await ask_async(item)
        return {"item": item}

    @app.get("/nothing")
    async def nothing() -> dict[str, str]:
        return {"answer": "42"}

    @app.get("/failing")
    async def failing() -> None:
        await ask_async()
        raise RuntimeError("the endpoint broke")

    return app


def client(app: Any, **options: Any) -> TestClient:
    """A client of an application."""
    return TestClient(app, **options)


def stored_runs() -> Sequence[Run]:
    """What is in the store, newest first."""
    handler = TokenUsageHandler("usage.db")
    assert handler.flush(30)
    return handler.store.runs()


def completing(response: Response) -> FastAPI:
    """An application whose only route, which is completed, asks once and returns this response."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db")
    router = APIRouter(route_class=TokenUsageRoute)

    @router.get("/")
    async def answer() -> Response:
        await ask_async()
        return response

    app.include_router(router)
    return app


@pytest.mark.parametrize("path", ["/query", "/plain"])
def test_response_carries_the_usage(path: str) -> None:
    """An endpoint of either kind says what its request used, by chain, and that is what the store has."""
    answer = client(make_app()).post(path)
    assert answer.json() == {"answer": "42", "llm_token_usage": {"sql_generation": COUNTS, "total_tokens_used": 8}}
    (run,) = stored_runs()
    assert (run.name, run.status, run.total.total_tokens) == (f"POST {path}", "ok", 8)


def test_run_is_named_by_the_route_and_not_by_the_path() -> None:
    """Two requests of one route with other ids in their paths have runs of one name."""
    with client(make_app()) as connected:
        for item in (3, 4):
            connected.get(f"/items/{item}")
    assert [run.name for run in stored_runs()] == ["GET /items/{item}"] * 2


def routed_app() -> FastAPI:
    """Routes of an included router, of one included in it, below mounts, and two that differ in their method."""

    async def asked() -> dict[str, str]:
        await ask_async()
        return {}

    inner, router, mounted, app = APIRouter(prefix="/inner"), APIRouter(prefix="/v1"), FastAPI(), FastAPI()
    inner.get("/deep/{item}")(asked)
    router.get("/plain/{item}")(asked)
    router.post("/plain/{item}")(asked)
    router.include_router(inner)
    mounted.get("/x/{item}")(asked)
    mounted.mount("/again", Starlette(routes=[Route("/{item}", _asked_plainly)]))
    mounted.include_router(router)
    app.get("/items/{item}")(asked)
    app.post("/items/special")(asked)
    app.include_router(router, prefix="/api")
    app.mount("/{tenant}/sub", mounted)
    app.mount("/other", _asked_plainly_without_routes)
    app.add_middleware(TokenUsageMiddleware, "usage.db")
    return app


def _asked_plainly(_: Any) -> PlainTextResponse:
    ask()
    return PlainTextResponse("ok")


async def _asked_plainly_without_routes(scope: Any, receive: Any, send: Any) -> None:
    await ask_async()
    await PlainTextResponse("ok")(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/v1/plain/1", "GET /api/v1/plain/{item}"),
        ("POST", "/api/v1/plain/1", "POST /api/v1/plain/{item}"),
        ("GET", "/api/v1/inner/deep/1", "GET /api/v1/inner/deep/{item}"),
        ("POST", "/items/special", "POST /items/special"),
        ("GET", "/items/special", "GET /items/{item}"),
        ("GET", "/a/sub/x/1", "GET /{tenant}/sub/x/{item}"),
        ("GET", "/a/sub/again/1", "GET /{tenant}/sub/again/{item}"),
        ("GET", "/a/sub/v1/plain/1", "GET /{tenant}/sub/v1/plain/{item}"),
        ("GET", "/other/1", "GET /other"),
    ],
)
def test_run_is_named_by_the_route_that_answers(method: str, path: str, name: str) -> None:
    """However routers are included and applications mounted, the name is that of the route which answers, in full."""
    assert client(routed_app()).request(method, path).status_code == 200
    assert [run.name for run in stored_runs()] == [name]


@pytest.mark.parametrize("root", ["", "/behind"])
def test_run_is_named_the_same_behind_a_proxy(root: str) -> None:
    """The path below which a proxy offers an application is no part of a name."""
    app = routed_app()
    app.root_path = root
    assert client(app).get(f"{root}/a/sub/x/1").status_code == 200
    assert [run.name for run in stored_runs()] == ["GET /{tenant}/sub/x/{item}"]


def test_request_without_calls_leaves_nothing() -> None:
    """A request that asks no model has no run in the store, and no header."""
    answer = client(make_app(headers=True)).get("/nothing")
    assert answer.json() == {"answer": "42"}
    assert not [name for name in answer.headers if name.startswith("x-llm")]
    assert stored_runs() == []


def test_failed_request_has_a_failed_run() -> None:
    """An endpoint that breaks after a call was paid for leaves a run with its error."""
    answer = client(make_app(headers=True), raise_server_exceptions=False).get("/failing")
    assert answer.status_code == 500
    (run,) = stored_runs()
    assert (run.status, run.error_message, run.total.calls) == ("error", "the endpoint broke", 1)


async def _session(connection: Any) -> str:
    await asyncio.sleep(0)
    return f"s-{connection.headers['x-chat']}"


def _failing(_: Any) -> str:
    raise LookupError("no such session")


@pytest.mark.parametrize(
    ("naming", "session"),
    [
        ("X-Chat", "abc"),
        ("X-Other", None),
        (lambda connection: connection.headers["x-chat"].upper(), "ABC"),
        (_session, "s-abc"),
        (_failing, None),
        (lambda _: "half \ud800 a pair\0", "half  a pair"),
    ],
)
def test_session_comes_from_a_header_or_a_callable(
    naming: Any, session: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The request's session is what the header or the callable says; one that fails is logged and names nothing."""
    with caplog.at_level(logging.CRITICAL, "langchain_tokens"):
        answer = client(make_app(session=naming, user=naming, mode="rag")).post("/query", headers={"X-Chat": "abc"})
    assert answer.status_code == 200
    (run,) = stored_runs()
    assert (run.session, run.calls[0].user, run.mode) == (session, session, "rag")


def test_headers_say_what_was_used() -> None:
    """Numbers that are known stand in the headers of a whole response; the cost only where it may be seen."""
    answer = client(make_app(headers=True)).post("/query")
    assert {name: value for name, value in answer.headers.items() if name.startswith("x-llm")} == {
        "x-llm-calls": "1",
        "x-llm-input-tokens": "7",
        "x-llm-output-tokens": "1",
        "x-llm-total-tokens": "8",
        "x-llm-cost-usd": "0.000001650000",
    }
    hidden = client(make_app(headers=True, include_cost=False)).post("/query")
    assert "x-llm-cost-usd" not in hidden.headers


class CostRoute(TokenUsageRoute):
    """A route that also says the cost."""

    with_cost = True


def test_the_body_says_the_cost_where_that_is_asked_for() -> None:
    """The response model, the route class, the event and the retries have the cost of the calls, as text."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db")
    router = APIRouter(route_class=CostRoute)

    @app.get("/model")
    async def model(usage: RequestUsage) -> Answer:
        await ask_async()
        return Answer(answer="42", llm_token_usage=usage.to_response(with_cost=True))

    @router.get("/route")
    async def route() -> dict[str, str]:
        await ask_async()
        return {"answer": "42"}

    @app.get("/others")
    async def others(usage: RequestUsage) -> dict[str, Any]:
        with track(attempt=2):
            await ask_async()
        event = usage_event(usage, with_cost=True).splitlines()[1].removeprefix("data: ")
        return {"event": json.loads(event), **retry_usage(usage, with_cost=True)}

    app.include_router(router)
    cost = "0.000001650000"
    costs = {**COUNTS, "cost_usd": cost}
    for path in ("/model", "/route"):
        assert client(app).get(path).json() == {
            "answer": "42",
            "llm_token_usage": {"sql_generation": costs, "total_tokens_used": 8, "total_cost_usd": cost},
        }
    found = client(app).get("/others").json()
    assert (found["event"]["total_cost_usd"], found["retry_token_usage"][0]["tokens"]) == (cost, costs)
    schemas = client(app).get("/openapi.json").json()["components"]["schemas"]
    assert "cost_usd" in json.dumps(schemas)


def test_unknown_numbers_have_no_header() -> None:
    """A call whose provider says nothing is counted, and no number is made up for it."""
    silent = ScriptedChat(script=in_turn(Reply(usage=None)))
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, TokenUsageHandler("usage.db", estimate=False), headers=True)

    @app.get("/")
    async def ask_silent() -> str:
        await silent.ainvoke("?")
        return "done"

    answer = client(app).get("/")
    assert [name for name in answer.headers if name.startswith("x-llm")] == ["x-llm-calls"]


def test_streamed_response_ends_with_an_event() -> None:
    """A stream sends its usage as a last event, its headers say nothing, and its calls belong to the request."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db", headers=True)

    @app.get("/stream")
    async def stream(usage: RequestUsage) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            await ask_async(5)
            yield "data: first\n\n"
            await ask_async(6)
            yield usage_event(usage)

        return StreamingResponse(events(), media_type="text/event-stream")

    answer = client(app).get("/stream")
    assert not [name for name in answer.headers if name.startswith("x-llm")]
    event, data = answer.text.split("\n\n")[1].split("\n")
    assert event == "event: llm_token_usage"
    assert json.loads(data.removeprefix("data: "))["total_tokens_used"] == 13
    (run,) = stored_runs()
    assert (run.total.input_tokens, run.status) == (11, "ok")


def test_background_tasks_belong_to_the_request() -> None:
    """What is asked after the response was sent is in the request's run."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db")

    @app.post("/later")
    async def later(tasks: BackgroundTasks, usage: RequestUsage) -> dict[str, int]:
        tasks.add_task(ask, 30)
        tasks.add_task(ask_async, 40)
        await asyncio.gather(ask_async(1), asyncio.to_thread(ask, 2))
        return {"until_now": usage.total.input_tokens or 0}

    assert client(app).post("/later").json() == {"until_now": 3}
    (run,) = stored_runs()
    assert run.total.input_tokens == 73


async def test_concurrent_requests_stay_apart() -> None:
    """A hundred requests at once, of both kinds of endpoint, each have their own tokens and no other's."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db", session="X-Session")

    @app.get("/async/{number}")
    async def asynchronous(number: int, usage: RequestUsage) -> dict[str, Any]:
        await asyncio.gather(ask_async(number), ask_async(number))
        return usage.to_response()

    @app.get("/sync/{number}")
    def synchronous(number: int, usage: RequestUsage) -> dict[str, Any]:
        ask(number)
        ask(number)
        return usage.to_response()

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as connected:
        asked = [(kind, number) for number in range(1, 51) for kind in ("async", "sync")]
        answers = await asyncio.gather(
            *(connected.get(f"/{kind}/{number}", headers={"X-Session": f"{kind}{number}"}) for kind, number in asked)
        )
    assert [answer.json()["total_tokens_used"] for answer in answers] == [2 * (number + 1) for _, number in asked]
    await asyncio.to_thread(TokenUsageHandler("usage.db").flush, 30)
    sessions = TokenUsageHandler("usage.db").store.sessions()
    assert {row.key["session"]: row.input_tokens for row in sessions} == {f"{kind}{n}": 2 * n for kind, n in asked}


def test_inner_track_and_own_handler_count_once() -> None:
    """A `track()` in the endpoint, or a handler of its own on the same store, makes no second record of a call."""
    app = make_app()
    own = TokenUsageHandler("usage.db")

    @app.get("/both")
    def both(usage: RequestUsage) -> int:
        with track(agent="Repairer"):
            MODEL.invoke("5", {"callbacks": [own]})
        return usage.total.calls

    assert client(app).get("/both").json() == 1
    (run,) = stored_runs()
    assert [(call.agent, call.usage and call.usage.input_tokens) for call in run.calls] == [("Repairer", 5)]


def test_route_class_completes_json_objects() -> None:
    """With the route class the endpoints stay as they are: objects get the field, all else stays as it was."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db")
    router = APIRouter(route_class=TokenUsageRoute)

    @router.get("/object")
    async def some_object() -> dict[str, str]:
        await ask_async()
        return {"answer": "w\u00f6rth it"}

    @router.get("/list")
    async def some_list() -> list[int]:
        await ask_async()
        return [1]

    @router.get("/text")
    async def text() -> PlainTextResponse:
        await ask_async()
        return PlainTextResponse("hello")

    @router.get("/own")
    async def own() -> JSONResponse:
        await ask_async()
        return JSONResponse({"llm_token_usage": "mine"}, status_code=202)

    @router.get("/none")
    async def none() -> dict[str, str]:
        return {"answer": "42"}

    app.include_router(router)
    connected = client(app)
    expected = {"answer": "w\u00f6rth it", "llm_token_usage": {"sql_generation": COUNTS, "total_tokens_used": 8}}
    assert connected.get("/object").json() == expected
    assert connected.get("/list").json() == [1]
    assert connected.get("/text").text == "hello"
    assert (connected.get("/own").status_code, connected.get("/own").json()) == (202, {"llm_token_usage": "mine"})
    assert connected.get("/none").json() == {"answer": "42"}


USED = f'"llm_token_usage":{json.dumps({"sql_generation": COUNTS, "total_tokens_used": 8})}'
JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("{}", JSON, f"{{{USED}}}"),
        (' { "a" : 1 }\n', JSON, f' {{ "a" : 1 ,{USED}}}\n'),
        ('{"a":[{}]}', "Application/JSON; charset=utf-8", f'{{"a":[{{}}],{USED}}}'),
        ('{"a":1}', "application/problem+json", f'{{"a":1,{USED}}}'),
        ('{"a":0.12345678901234567890,"b":1e400}', JSON, f'{{"a":0.12345678901234567890,"b":1e400,{USED}}}'),
        (r'{"a":"\ud83d","a":"}"}', JSON, rf'{{"a":"\ud83d","a":"}}",{USED}}}'),
        ('{"a":{"llm_token_usage":null}}', JSON, f'{{"a":{{"llm_token_usage":null}},{USED}}}'),
        (
            '{"llm_token_usage":null,"a":{"llm_token_usage":null}}',
            JSON,
            f'{{{USED},"a":{{"llm_token_usage":null}}}}',
        ),
    ],
)
def test_field_is_added_and_the_rest_stays_as_it_was_written(body: str, kind: str, expected: str) -> None:
    """What the application wrote keeps every character, and the length in the headers fits."""
    answer = client(completing(Response(body, media_type=kind))).get("/")
    assert (answer.status_code, answer.text) == (200, expected)
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a":1}\n{"a":2}\n', "application/jsonl"),
        (b'{"a":1}\n{"a":2}\n', JSON),
        (b'{"a":1}', "application/json-seq"),
        (b"no JSON", JSON),
        ('{"a":"\u00e4"}'.encode("latin-1"), "application/json; charset=latin-1"),
        (b'{"a":' * 100_000, JSON),
        (b'{"a":' + b"1" * 5_000 + b"}", JSON),
        (b'{"llm_token_usage":{}}', JSON),
    ],
)
def test_other_bodies_go_out_as_they_are(body: bytes, kind: str) -> None:
    """What cannot be completed is the application's own affair, also where its type promises something else."""
    answer = client(completing(Response(body, media_type=kind)), raise_server_exceptions=False).get("/")
    assert (answer.status_code, answer.content) == (200, body)


def test_compressed_body_goes_out_as_it_is() -> None:
    """A body that the application has compressed itself is not read."""
    packed = Response(gzip.compress(b'{"a":1}'), media_type=JSON, headers={"Content-Encoding": "gzip"})
    answer = client(completing(packed), raise_server_exceptions=False).get("/")
    assert (answer.status_code, answer.json()) == (200, {"a": 1})


def test_retries_are_said_beside_their_count() -> None:
    """`retry_usage` is what an endpoint for execution returns: how often, with which error, and the tokens of each."""
    with track("usage.db") as run:
        ask(10, "sql_fix")
        with track(attempt=2, error="no such column: town"):
            ask(20, "sql_fix")
        with track(attempt=2, error="timeout"):
            ask(30, "other")
    tokens = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
    entry = {"attempt": 2, "error": "no such column: town", "tokens": tokens}
    assert retry_usage(run, "sql_fix") == {"retry_count": 1, "retry_token_usage": [entry]}
    assert retry_usage(run)["retry_count"] == 2
    assert retry_usage(run, "none of these") == {"retry_count": 0, "retry_token_usage": []}


def test_openapi_describes_the_field() -> None:
    """The application's OpenAPI document has the usage as a schema of its own."""
    schemas = client(make_app()).get("/openapi.json").json()["components"]["schemas"]
    assert "LLMTokenUsage" in schemas
    assert "llm_token_usage" in schemas["Answer"]["properties"]


def test_websocket_has_a_run() -> None:
    """All calls of a connection of a WebSocket are one run."""
    app = FastAPI()
    app.add_middleware(TokenUsageMiddleware, "usage.db")

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(2):
            await ask_async(int(await websocket.receive_text()))
        await websocket.close()

    with client(app).websocket_connect("/chat") as connection:
        connection.send_text("3")
        connection.send_text("4")
        assert connection.receive()["type"] == "websocket.close"
    (run,) = stored_runs()
    assert (run.total.calls, run.total.input_tokens, run.name) == (2, 7, "WEBSOCKET /chat")


def test_plain_starlette_and_mounts_are_named() -> None:
    """Without FastAPI, below a mount, and where no route matches, requests are answered and named as far as can be."""

    def endpoint(_: Any) -> PlainTextResponse:
        ask()
        return PlainTextResponse("ok")

    app = Starlette(routes=[Mount("/sub", routes=[Route("/page", endpoint)])])
    app.add_middleware(TokenUsageMiddleware, "usage.db")
    assert client(app).get("/sub/page").text == "ok"
    assert client(app).get("/elsewhere").status_code == 404
    assert [run.name for run in stored_runs()] == ["GET /sub/page"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"session": 3}, "session=3 is a int"), ({"user": b"x"}, "user=b'x' is a bytes")],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    """An argument of another type is one clear error when the application is built."""
    with pytest.raises(TokensError, match=message):
        TokenUsageMiddleware(FastAPI(), "usage.db", **options)


def test_dependency_without_middleware_says_what_is_missing() -> None:
    """An endpoint that asks for its run where nothing opens one fails with the line that mends it."""
    app = FastAPI()

    @app.get("/")
    async def endpoint(usage: RequestUsage) -> int:
        return usage.total.calls

    with pytest.raises(TokensError, match="add_middleware"):
        client(app).get("/")


def test_naming_a_run_that_fails_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A function for the run's name that breaks costs the name, not the request."""

    def name(_: Any) -> str:
        raise ValueError("broken")

    with caplog.at_level(logging.CRITICAL, "langchain_tokens"):
        assert client(make_app(run=name)).post("/query").status_code == 200
    assert [run.name for run in stored_runs()] == ["request"]


def dependency_app(dependency: Callable[[], Any]) -> FastAPI:
    """An application without the middleware, whose endpoints of both kinds depend on a block."""
    app = FastAPI()
    block = Depends(dependency)

    @app.get("/plain")
    def plain(run: Run = block) -> int:
        ask()
        return run.total.calls

    @app.get("/async")
    async def in_the_loop(run: Run = block) -> int:
        await ask_async()
        return run.total.calls

    return app


@pytest.mark.parametrize("path", ["/plain", "/async"])
def test_asynchronous_dependency_opens_a_block(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """An `async def` dependency that yields has the calls of endpoints of either kind in its block."""

    async def tracked() -> AsyncIterator[Run]:
        async with track("usage.db") as run:
            yield run

    assert TestClient(dependency_app(tracked)).get(path).json() == 1
    assert caplog.text == ""


@pytest.mark.parametrize("path", ["/plain", "/async"])
def test_plain_dependency_is_warned_of(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `def` dependency that yields has no endpoint in its block, and does not count 0 in silence."""
    monkeypatch.setattr(REGISTRY, "warnings", Warnings())

    def tracked() -> Iterator[Run]:
        with track("usage.db") as run:
            yield run

    client = TestClient(dependency_app(tracked))
    assert [client.get(path).json(), client.get(path).json()] == [0, 0]
    assert caplog.text.count("has to be `async def`") == 1


def test_blocks_that_saw_calls_or_none_at_all_are_not_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block without calls is nothing special, nor is one that asked and is finished in another context."""
    monkeypatch.setattr(REGISTRY, "warnings", Warnings())

    def items(asks: int) -> Iterator[int]:
        with track("usage.db"):
            for _ in range(asks):
                ask()
            yield asks

    assert list(items(0)) == [0]
    begun = items(1)
    assert contextvars.copy_context().run(next, begun) == 1
    assert list(begun) == []
    assert caplog.text == ""
