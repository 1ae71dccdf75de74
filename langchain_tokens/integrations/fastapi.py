"""What did this request use? A middleware that opens a run for each request, and the run in the endpoint's response.

app.add_middleware(TokenUsageMiddleware, session="X-Session-Id")

@app.post("/query")
async def query(question: Question, usage: RequestUsage) -> Answer:
    answer = await graph.ainvoke({"question": question.text})
    return Answer(answer=answer["answer"], llm_token_usage=usage.to_response())
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from langchain_tokens.errors import MissingExtraError, TokensError
from langchain_tokens.handler import TokenUsageHandler
from langchain_tokens.names import text_or_none
from langchain_tokens.run import Run
from langchain_tokens.scope import capturing, track
from langchain_tokens.trouble import Warnings

try:
    from fastapi import Depends, routing
    from fastapi.routing import APIRoute
    from pydantic import BaseModel, ConfigDict
    from starlette.datastructures import MutableHeaders
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import Match
except ImportError as missing:
    raise MissingExtraError(
        "langchain_tokens.integrations.fastapi needs FastAPI: pip install 'langchain_tokens[fastapi]'"
    ) from missing

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = (
    "LLMTokenUsage",
    "RequestUsage",
    "TokenUsageMiddleware",
    "TokenUsageRoute",
    "WithTokenUsage",
    "retry_usage",
    "usage_event",
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Naming = str | Callable[[HTTPConnection], str | Awaitable[str | None] | None] | None

_RUN = "langchain_tokens.run"
"""Where a request's scope holds its run."""
_FIELD = "llm_token_usage"
_RETRIES = "_retries"
_all_routes: Callable[[Sequence[Any]], Iterator[Any]] = getattr(routing, "iter_route_contexts", iter)
"""Routes with those of included routers, which older versions of FastAPI copy to the others."""
_BETWEEN = re.compile(r"[ \t\n\r]*[{,:]?[ \t\n\r]*")


class TokenUsageMiddleware:
    """Open a `track()` around each request: all calls to models in it are that request's run, and are caught.

    It goes by the context of the request, so that endpoints of either kind, tasks, `asyncio.to_thread`, streamed
    responses and background tasks belong to it, however many requests are answered at once. The run ends when the last
    of them has. A request without calls to models leaves nothing behind.

    Args:
        app: the application.
        store: where calls go, as for `TokenUsageHandler`; or a handler of yours.
        session: a header's name, or what tells the session of a request (it may be asynchronous); so for `user`.
        mode: the application's own way of working.
        run: what tells the run's name; None is the method and the route, such as `POST /query`.
        tags: free keys and values for every call.
        headers: send `X-LLM-Calls`, `X-LLM-Input-Tokens`, `X-LLM-Output-Tokens`, `X-LLM-Total-Tokens` and
            `X-LLM-Cost-USD` where there were calls and the numbers are known; not with responses that are streamed,
            whose headers leave before the calls.
        include_cost: whether the headers say the cost.

    Raises:
        StoreError: when the store's URL is wrong or the file is not a database.
        TokensError: for an argument of another type.

    """

    def __init__(
        self,
        app: Application,
        store: str | Path | UsageStore | TokenUsageHandler | None = None,
        *,
        session: Naming = None,
        user: Naming = None,
        mode: str | None = None,
        run: Callable[[HTTPConnection], str | None] | None = None,
        tags: Mapping[str, str] | None = None,
        headers: bool = False,
        include_cost: bool = True,
    ) -> None:
        for name, naming in (("session", session), ("user", user)):
            if naming is not None and not isinstance(naming, str) and not callable(naming):
                raise TokensError(
                    f"{name}={naming!r} is a {type(naming).__name__}; expected a header's name or a callable"
                )
        self.app = app
        self.handler = store if isinstance(store, TokenUsageHandler) else TokenUsageHandler(store)
        self._session, self._user, self._mode = session, user, mode
        self._run = run or _route_name
        self._tags = tags
        self._headers, self._include_cost = headers, include_cost
        self._warnings = Warnings()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or a connection of a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        session = await self._named("session", self._session, connection)
        user = await self._named("user", self._user, connection)
        with capturing(self.handler), self._track(connection, session, user) as run:
            scope[_RUN] = run
            is_plain = scope["type"] == "websocket" or not self._headers
            await self.app(scope, receive, send if is_plain else _with_headers(send, run, with_cost=self._include_cost))

    def _track(self, connection: HTTPConnection, session: str | None, user: str | None) -> AbstractContextManager[Run]:
        try:
            name = text_or_none(self._run(connection))
        except Exception as error:  # noqa: BLE001  # a name is not worth a request
            self._warnings.once("run", "a request's run could not be named", error)
            name = None
        return track(session=session, user=user, mode=self._mode, run=name or "request", tags=self._tags)

    async def _named(self, what: str, naming: Naming, connection: HTTPConnection) -> str | None:
        """A name that a header or the application says; what cannot be asked or stored names nothing."""
        if naming is None:
            return None
        try:
            said = connection.headers.get(naming) if isinstance(naming, str) else naming(connection)
            if inspect.isawaitable(said):
                said = await said
        except Exception as error:  # noqa: BLE001  # a name is not worth a request
            self._warnings.once(what, f"a request's {what} could not be told", error)
            return None
        return _storable(text_or_none(said))


async def _request_run(connection: HTTPConnection) -> Run:
    """The run of this request, live.

    Asynchronous on purpose: what a dependency sets in a thread of its own reaches no endpoint.
    """
    run = connection.scope.get(_RUN)
    if not isinstance(run, Run):
        raise TokensError("this request has no run: app.add_middleware(TokenUsageMiddleware) opens one for each")
    return run


RequestUsage = Annotated[Run, Depends(_request_run)]
"""The live `Run` of the request, for a parameter of an endpoint."""


class _Counts(BaseModel):
    """Tokens of a chain in a request; null where nobody knows."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None


class _Costs(_Counts):
    """The same with what they cost, where the application says it."""

    cost_usd: str | None
    """US dollars."""


class _Retry(BaseModel):
    """A call that was made again: which try it was, and the error that made it necessary."""

    attempt: int
    error: str | None
    tokens: _Costs | _Counts


class LLMTokenUsage(BaseModel):
    """What a request used: for each chain its tokens, what ran again in a list `<chain>_retries`, and where
    `total_tokens_used` does not cover all calls, `calls_without_usage`: a number. With costs `total_cost_usd`, as text,
    and `unpriced_calls` likewise.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Costs | _Counts | list[_Retry] | int | str | None]
    total_tokens_used: int | None
    """All tokens that are known; null where none is."""


class WithTokenUsage(BaseModel):
    """A response with what it used, in `llm_token_usage`; null where no model was asked."""

    llm_token_usage: LLMTokenUsage | dict[str, Any] | None = None


class TokenUsageRoute(APIRoute):
    """A route whose JSON objects say what they used, with nothing changed in the endpoints:
    `APIRouter(route_class=TokenUsageRoute)`. The field is left out where no model was asked, or is there already.

    A class of yours that says `with_cost = True` also says what it cost.
    """

    with_cost: ClassVar[bool] = False
    """As for `Run.to_response`."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint with its answer completed."""
        answer = super().get_route_handler()

        async def complete(request: Request) -> Response:
            response: Response = await answer(request)
            run = request.scope.get(_RUN)
            return _completed(response, run, with_cost=self.with_cost) if isinstance(run, Run) else response

        return complete


def usage_event(run: Run, *, with_cost: bool = False) -> str:
    """The last event of a stream of server-sent events: what the request has used until now, see `Run.to_response`."""
    return f"event: {_FIELD}\ndata: {json.dumps(run.to_response(with_cost=with_cost))}\n\n"


def retry_usage(run: Run, chain: str | None = None, *, with_cost: bool = False) -> dict[str, Any]:
    """What repairing cost: `retry_count` and `retry_token_usage`, a list of attempts with their error and tokens.

    Args:
        run: the request's run.
        chain: only what this chain did again; None takes all.
        with_cost: as for `Run.to_response`.

    """
    wanted = None if chain is None else f"{chain}{_RETRIES}"
    lists = [
        entries
        for name, entries in run.to_response(with_cost=with_cost).items()
        if isinstance(entries, list) and name.endswith(_RETRIES) and wanted in (None, name)
    ]
    entries = [entry for group in lists for entry in group]
    return {"retry_count": len(entries), "retry_token_usage": entries}


def _completed(response: Response, run: Run, *, with_cost: bool) -> Response:
    """A JSON object with what it used; any other response as it is."""
    body = getattr(response, "body", None)  # a stream has none
    if not body or not _is_plain_json(response.headers) or not run.calls:
        return response
    try:
        completed = _with_field(bytes(body).decode(), json.dumps(run.to_response(with_cost=with_cost)))
    except (ValueError, RecursionError):  # no JSON, whatever its type says
        return response
    if completed is not None:
        response.body = completed.encode()
        response.headers["content-length"] = str(len(response.body))
    return response


def _is_plain_json(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    return is_json and "content-encoding" not in headers


def _with_field(text: str, value: str) -> str | None:
    """The text of a JSON object with the field in it; None for any other value, and where it has the field already.

    All else stays as it was written: numbers and half surrogate pairs do not come through being read and written anew.

    Raises:
        ValueError: for a text that is no JSON.

    """
    if not isinstance(json.loads(text), dict):
        return None
    members = list(_members(text))
    places = [place for name, place in members if name == _FIELD]
    if places:
        said = places[-1]
        return f"{text[: said.start]}{value}{text[said.stop :]}" if text[said] == "null" else None
    end, comma = text.rindex("}"), "," if members else ""
    return f'{text[:end]}{comma}"{_FIELD}":{value}{text[end:]}'


def _members(text: str) -> Iterator[tuple[str, slice]]:
    """The names in a JSON object, each with where its value stands."""
    read = json.JSONDecoder().raw_decode
    at = _next(text, 0)
    while text[at] != "}":
        name, at = read(text, at)
        start = _next(text, at)
        _, at = read(text, start)
        yield name, slice(start, at)
        at = _next(text, at)


def _next(text: str, at: int) -> int:
    """Where the next name or value begins, or the object ends."""
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _with_headers(send: Send, run: Run, *, with_cost: bool) -> Send:
    """Hold the start of a response back until it is known whether all of it follows at once."""
    started: list[Message] = []

    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        if started:
            start = started.pop()
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                _add_headers(MutableHeaders(scope=start), run, with_cost=with_cost)
            await send(start)
        await send(message)

    return forward


def _add_headers(headers: MutableHeaders, run: Run, *, with_cost: bool) -> None:
    total = run.total
    if not total.calls:
        return
    known = {
        "X-LLM-Calls": total.calls,
        "X-LLM-Input-Tokens": total.input_tokens,
        "X-LLM-Output-Tokens": total.output_tokens,
        "X-LLM-Total-Tokens": total.total_tokens,
        "X-LLM-Cost-USD": total.cost_usd if with_cost else None,
    }
    for name, value in known.items():
        if value is not None:
            headers[name] = format(value, "f") if name.endswith("USD") else str(value)


def _route_name(connection: HTTPConnection) -> str | None:
    """The method and the route's template, so that a path with an id in it is no name of its own."""
    scope = connection.scope
    path = _template(getattr(scope.get("app"), "routes", ()), scope)
    return f"{scope.get('method', 'WEBSOCKET')} {path}" if path else None


def _template(routes: Sequence[Any], scope: Mapping[str, Any]) -> str:
    """The template of the route that will answer, below the places where it is mounted; "" where there is none."""
    partial = None
    for route in _all_routes(routes):
        match, found = route.matches(scope)
        if match is Match.FULL:
            return _template_from(route, {**scope, **found})
        if match is Match.PARTIAL and partial is None:  # of another method, as long as no later route has this one
            partial = route, {**scope, **found}
    return "" if partial is None else _template_from(*partial)


def _template_from(route: Any, scope: Mapping[str, Any]) -> str:
    path = getattr(route, "path", None) or ""
    return f"{path}{_template(getattr(route, 'routes', None) or (), scope)}"


def _storable(text: str | None) -> str | None:
    """A name without the characters that no database takes: a client may send anything."""
    return None if text is None else text.replace("\0", "").encode("utf-8", "ignore").decode() or None
