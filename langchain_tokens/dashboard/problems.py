"""How is an error told to a program? As problem+json (RFC 9457): what was wrong, and nothing of what is inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from langchain_tokens.errors import MissingExtraError, QueryError, StoreError, TokensError
from langchain_tokens.store.engine import RowError

__all__ = ("PROBLEMS", "Problem", "add_handlers", "documented", "problem")

TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    405: "No such method here",
    409: "Changed in the meantime",
    422: "This cannot be asked",
    500: "Failed in a way that was not foreseen",
    501: "Not installed",
    503: "The database does not answer",
}


class Problem(BaseModel):
    """What was wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer instead of what was asked for, for the API's description."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": TITLES[status], "content": {"application/problem+json": schema}} for status in statuses
    }


PROBLEMS = documented(400, 401, 403, 422, 501, 503)
"""What every route may answer."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells a problem."""
    told = Problem(title=TITLES.get(status, "Error"), status=status, detail=detail)
    return JSONResponse(told.model_dump(), status, headers, media_type="application/problem+json")


def add_handlers(app: FastAPI) -> None:
    """Tell all errors as problems."""
    app.add_exception_handler(TokensError, _handler(_of_ours))
    app.add_exception_handler(RequestValidationError, _handler(_of_parameters))
    app.add_exception_handler(HTTPException, _handler(_of_http))
    app.add_exception_handler(Exception, _handler(_unforeseen))


def _handler(tell: Callable[[Any], Response]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        return tell(error)

    return handle


def _of_ours(error: TokensError) -> Response:
    kinds: tuple[tuple[type[TokensError], int], ...] = (
        (QueryError, 422),
        (RowError, 422),  # a name with a NUL, a number beyond what a database counts to
        (StoreError, 503),
        (MissingExtraError, 501),
    )
    status = next((status for kind, status in kinds if isinstance(error, kind)), 422)
    return problem(status, " ".join(str(error).split()))


def _of_parameters(error: RequestValidationError) -> Response:
    found = [f"{'.'.join(str(part) for part in each['loc'][1:]) or 'body'}: {each['msg']}" for each in error.errors()]
    return problem(422, "; ".join(found))


def _of_http(error: HTTPException) -> Response:
    return problem(error.status_code, str(error.detail), error.headers)


def _unforeseen(error: Exception) -> Response:
    return problem(500, f"{type(error).__name__}; the server's log has it all")
