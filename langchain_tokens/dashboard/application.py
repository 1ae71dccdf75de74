"""How do the parts make one application? Pages, API, live channel, and the guard before all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.budgets import Budget
from langchain_tokens.dashboard.assets import Assets
from langchain_tokens.dashboard.exports import CONTENT_TYPES
from langchain_tokens.dashboard.guard import Guard
from langchain_tokens.dashboard.judgements import Judgements
from langchain_tokens.dashboard.live import Live
from langchain_tokens.dashboard.numbers import Numbers
from langchain_tokens.dashboard.problems import PROBLEMS, Problem, add_handlers, documented, problem
from langchain_tokens.dashboard.records import Records
from langchain_tokens.dashboard.rules import Rules
from langchain_tokens.dashboard.saying import Said, Saying
from langchain_tokens.dashboard.services import Services
from langchain_tokens.dashboard.shapes import Deleted, Dimensions, History, Place, Prices, Shapes, Status, make_shapes
from langchain_tokens.store.store import UsageStore

__all__ = ("make_application",)

_API = "/api/v1"
_WRONG_TOKEN_SECONDS = 0.5
"""What a guess costs."""
_LEAST_COMPRESSED = 1_500
_ABOUT = (
    "Where do your tokens and your money go? All times are UTC, money is text in US dollars, unknown is null and never "
    "0. Every sum says how many calls it does not cover. Errors are problem+json."
)


class Login(BaseModel):
    """Who wants to come in."""

    model_config = ConfigDict(extra="forbid")
    token: str


def make_application(
    store: UsageStore, rules: Rules, *, is_read_only: bool, budgets: Sequence[Budget] | None
) -> FastAPI:
    """Put the application together; as `create_app`, which has the defaults."""
    app = FastAPI(
        title="langchain_tokens",
        version=version("langchain_tokens"),
        description=_ABOUT,
        docs_url=None,  # FastAPI's own pages load from elsewhere
        redoc_url=None,
    )
    services = Services(store=store, is_read_only=is_read_only, needs_token=rules.token is not None, budgets=budgets)
    _add_routes(app, services)
    _add_pages(app, Assets())
    _add_login(app, rules)
    app.add_api_websocket_route(f"{_API}/live", Live(store).serve)
    add_handlers(app)
    _describe_problems(app)
    app.add_middleware(GZipMiddleware, minimum_size=_LEAST_COMPRESSED, compresslevel=5)
    app.add_middleware(Guard, rules=rules)
    return app


def _add(app: FastAPI, path: str, endpoint: Callable[..., Any], shape: Any, *more: int, method: str = "GET") -> None:
    """A route below the API's path; `more` are what it may answer beside the shape and the usual problems."""
    app.add_api_route(
        f"{_API}{path}",
        endpoint,
        methods=[method],
        response_model=shape,
        responses={**PROBLEMS, **documented(*more)},
        summary=(endpoint.__doc__ or "").split(".")[0],
    )


def _add_routes(app: FastAPI, services: Services) -> None:
    numbers, shapes = Numbers(services), make_shapes()
    _add(app, "/status", numbers.status, Status)
    _add(app, "/overview", numbers.overview, shapes.overview)
    _add(app, "/breakdown", numbers.breakdown, shapes.breakdown_with_means)
    _add(app, "/timeline", numbers.timeline, shapes.breakdown)
    _add(app, "/sessions", numbers.sessions, shapes.sessions)
    _add(app, "/profile", numbers.profile, Place)
    _add(app, "/dimensions", numbers.dimensions, Dimensions)
    _add(app, "/prices", numbers.prices, Prices)
    _add_judgements(app, Judgements(services), shapes)
    records = Records(services)
    _add(app, "/calls", records.calls, shapes.calls)
    _add(app, "/calls/{call_id}", records.call, shapes.call, 404)
    _add(app, "/calls/{call_id}/content", Saying(services).content, Said, 404)
    _add(app, "/runs", records.runs, shapes.runs)
    _add(app, "/runs/{run_id}", records.run, shapes.run_with_calls, 404)
    _add(app, "/history", records.history, History)
    _add(app, "/history", records.delete, Deleted, 409, method="DELETE")
    _add_files(app, numbers, records)


def _add_judgements(app: FastAPI, judgements: Judgements, shapes: Shapes) -> None:
    _add(app, "/budgets", judgements.budgets, shapes.budgets)
    _add(app, "/findings", judgements.findings, shapes.findings)
    _add(app, "/unusual", judgements.unusual, shapes.unusual)
    _add(app, "/forecast", judgements.forecast, shapes.forecast)


def _add_files(app: FastAPI, numbers: Numbers, records: Records) -> None:
    """What is no JSON document."""
    kinds: dict[str, Any] = {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in CONTENT_TYPES.values()}
    kinds["application/json"] = {"schema": {"type": "object"}}
    exported: dict[int | str, dict[str, Any]] = {200: {"description": "A file", "content": kinds}}
    app.add_api_route(
        f"{_API}/export",
        records.export,
        response_class=Response,
        responses={**PROBLEMS, **exported},
        summary="All calls",
    )
    pages: dict[int | str, dict[str, Any]] = {200: {"description": "A file", "content": {"text/html": {}}}}
    app.add_api_route(
        f"{_API}/report", numbers.report, response_class=Response, responses={**PROBLEMS, **pages}, summary="A report"
    )
    counters: dict[int | str, dict[str, Any]] = {200: {"description": "Counters", "content": {"text/plain": {}}}}
    app.add_api_route(
        "/metrics", numbers.metrics, response_class=Response, responses={**PROBLEMS, **counters}, summary="Counters"
    )


def _add_pages(app: FastAPI, assets: Assets) -> None:
    async def index(request: Request) -> Response:
        return assets.serve("index.html", request)

    async def login(request: Request) -> Response:
        return assets.serve("login.html", request)

    async def api(request: Request) -> Response:
        return assets.serve("api.html", request)

    async def static(request: Request, name: str) -> Response:
        return assets.serve(name, request)

    async def healthy() -> Response:
        return Response("ok\n", media_type="text/plain")

    for path, endpoint in (("/", index), ("/login", login), ("/api", api), ("/static/{name:path}", static)):
        app.add_api_route(path, endpoint, include_in_schema=False, response_class=Response)
    app.add_api_route("/healthz", healthy, include_in_schema=False, response_class=Response)


def _add_login(app: FastAPI, rules: Rules) -> None:
    async def log_in(request: Request, said: Login) -> Response:
        if not rules.is_token(said.token.strip()):
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
            return problem(401, "this is not the token")
        response = Response(status_code=204)
        response.set_cookie(rules.cookie_name, rules.cookie_value, **_cookie(request))
        return response

    async def log_out(request: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie(rules.cookie_name, **_cookie(request))
        return response

    app.add_api_route(f"{_API}/login", log_in, methods=["POST"], include_in_schema=False, response_class=Response)
    app.add_api_route(f"{_API}/logout", log_out, methods=["POST"], include_in_schema=False, response_class=Response)


def _cookie(request: Request) -> dict[str, Any]:
    path = request.scope.get("root_path") or "/"
    return {"path": path, "secure": request.url.scheme == "https", "httponly": True, "samesite": "strict"}


def _describe_problems(app: FastAPI) -> None:
    """Let the API's description have the shape of a problem, which no route returns by itself."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = described  # type: ignore[method-assign]
