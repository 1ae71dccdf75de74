"""Is this request one of ours? Host, origin, token and intent are checked before any route sees it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_tokens.dashboard.problems import problem
from langchain_tokens.dashboard.rules import Rules

__all__ = ("INTENT_HEADER", "INTENT_VALUE", "SECURITY_HEADERS", "Guard")

INTENT_HEADER, INTENT_VALUE = "x-requested-with", "langchain_tokens"
"""What a request that changes something has to say: no form and no link of another site can."""
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READING = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/login", "/api/v1/login", "/healthz")
"""What somebody without the token can reach, beside the page's own files, which hold no data."""
_REFUSED = 1008
"""A WebSocket's code for a policy that was broken."""


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        scope = _with_plain_root(scope)
        if scope["type"] == "websocket":
            if self._refusal_of_socket(Headers(scope=scope)):
                await send({"type": "websocket.close", "code": _REFUSED, "reason": ""})
                return
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal, is_head = self._refusal(scope), scope["method"] == "HEAD"
            app = self._app if refusal is None else refusal
            asked = {**scope, "method": "GET"} if is_head else scope  # no route answers it by itself
            await app(asked, receive, _with_headers(_without_body(send) if is_head else send))
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, method, path = Headers(scope=scope), scope["method"], path_in(scope)
        if not self._rules.is_host_allowed(headers.get("host")):
            return problem(400, "this dashboard is not reached by that host name; allowed_hosts= adds it")
        if method not in _READING and not _is_intended(headers):
            return problem(
                403,
                f"a request that changes something needs the header {INTENT_HEADER}: {INTENT_VALUE}, from this site",
            )
        if path in _OPEN or path.startswith("/static/") or self._rules.is_known(headers):
            return None
        if method == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{scope.get('root_path', '')}/login", 303)
        return problem(401, "this needs the token", {"WWW-Authenticate": "Bearer"})

    def _refusal_of_socket(self, headers: Headers) -> bool:
        """Browsers open a WebSocket to anybody; the Origin header tells whose page asks."""
        return not (
            self._rules.is_host_allowed(headers.get("host"))
            and _is_same_origin(headers)
            and self._rules.is_known(headers)
        )


def path_in(scope: Scope) -> str:
    """The path of a request below the place where the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "").rstrip("/")) or "/"


def _with_plain_root(scope: Scope) -> Scope:
    """The request as if the server had been told `/tokens`, whatever slashes stand at the ends of what it was told."""
    said = scope.get("root_path", "")
    root = f"/{said.strip('/')}".rstrip("/")
    if root == said or "path" not in scope:
        return scope
    below = f"/{scope['path'].lstrip('/')}".removeprefix(root).lstrip("/")
    return {**scope, "root_path": root, "path": f"{root}/{below}"}


def _is_intended(headers: Headers) -> bool:
    return headers.get(INTENT_HEADER) == INTENT_VALUE and _is_same_origin(headers)


def _is_same_origin(headers: Headers) -> bool:
    """Whether a page of this site asks, or a program that is no browser and names no origin."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # no address at all
        return False


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending
