"""Which sums does the API give? Totals, groups and time series, each from one method of the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.dashboard.answering import breakdown_document, overview_document, sessions_document
from langchain_tokens.dashboard.metrics import CONTENT_TYPE, metrics_text
from langchain_tokens.dashboard.offers import dimensions, status
from langchain_tokens.dashboard.questions import BreakdownQuestion, Filters, SessionsQuestion, TimelineQuestion
from langchain_tokens.dashboard.services import SECONDS_OF_A_RANGE, SECONDS_OF_ALL, Services
from langchain_tokens.prices import PriceBook
from langchain_tokens.pricing.offers import ModelRates
from langchain_tokens.query import make_query
from langchain_tokens.reports import html_report, profile
from langchain_tokens.reports.glance import read_overview
from langchain_tokens.reports.means import read_means
from langchain_tokens.reports.sessionlines import NEWEST, read_session_lines
from langchain_tokens.store.breakdowns import read_breakdown
from langchain_tokens.store.sizes import sizes_of
from langchain_tokens.usage import TokenUsage

__all__ = ("Numbers",)

_NOTHING = TokenUsage(input_tokens=0, output_tokens=0)


class Numbers:
    """Routes that give sums."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    async def status(self, request: Request) -> Response:
        """Which database it is, and how much is in it."""
        services = self._services
        terms = {"is_read_only": services.is_read_only, "needs_token": services.needs_token}
        return await services.answer(request, partial(status, self._store, **terms))

    async def overview(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """Totals of a range, of the one before it, and what follows from them."""

        def make() -> dict[str, Any]:
            count = partial(self._services.counts.get, str(request.url.query))
            return overview_document(read_overview(self._store, question.query(), count))

        return await self._answer(request, question, make)

    async def breakdown(self, request: Request, question: Annotated[BreakdownQuestion, Query()]) -> Response:
        """Sums by dimension, the largest first; where asked, with means over the calls that know a number."""
        terms: dict[str, Any] = {"limit": question.limit, "order": question.order}

        def make() -> dict[str, Any]:
            if not question.means:
                return breakdown_document(self._store.breakdown(*question.by, **terms, **question.filters()))
            query = make_query(question.by, question.filters())
            with self._store._reading() as connection:  # one state for all of it
                found = read_breakdown(connection, query, **terms)
                return breakdown_document(found, read_means(connection, query, found))

        return await self._answer(request, question, make)

    async def timeline(self, request: Request, question: Annotated[TimelineQuestion, Query()]) -> Response:
        """Sums for each hour, day, week or month, the oldest first."""

        def make() -> dict[str, Any]:
            return breakdown_document(self._store.timeline(question.every, by=question.by, **question.filters()))

        return await self._answer(request, question, make)

    async def sessions(self, request: Request, question: Annotated[SessionsQuestion, Query()]) -> Response:
        """The largest sessions, or the newest; where asked, when they were used, and by which agents."""

        def make() -> dict[str, Any]:
            terms: dict[str, Any] = {"order": question.order, "limit": question.limit}
            if not question.details and question.order != NEWEST:
                return breakdown_document(self._store.breakdown("session", **terms, **question.filters()))
            with self._store._reading() as connection:  # one state for all of it
                found = read_session_lines(connection, question.query(), **terms)
                return sessions_document(*found, has_details=question.details)

        return await self._answer(request, question, make)

    async def profile(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """Own and inclusive sums at every place along the paths of calls, nested."""
        return await self._answer(request, question, lambda: profile(self._store, **question.filters()).to_dict())

    async def dimensions(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """Names to filter by: the largest 200 of each dimension; sessions and tags of the newest calls."""
        return await self._answer(request, question, partial(dimensions, self._store, question.filters()))

    async def prices(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """What the models that were used cost at the moment."""
        return await self._answer(request, question, partial(_prices, self._services, question.filters()))

    async def report(self, question: Annotated[Filters, Query()]) -> Response:
        """All of it as one HTML file, which needs no server."""
        text = await self._services.ask(html_report, self._store, **question.filters())
        headers = {"Content-Disposition": 'attachment; filename="token-usage.html"'}
        return Response(text, headers=headers, media_type="text/html")

    async def metrics(self, request: Request) -> Response:
        """Counters for Prometheus."""
        make = partial(metrics_text, self._store)
        return await self._services.answer(
            request, make, seconds=SECONDS_OF_ALL, write=str.encode, content_type=CONTENT_TYPE
        )

    async def _answer(self, request: Request, question: Filters, make: Callable[[], Any]) -> Response:
        has_range = question.since is not None or question.until is not None
        seconds = SECONDS_OF_A_RANGE if has_range else SECONDS_OF_ALL
        return await self._services.answer(request, make, seconds=seconds)


def _prices(services: Services, filters: dict[str, Any]) -> dict[str, Any]:
    used = [size.key for size in sizes_of(services.store, make_query(("provider", "model"), filters))]
    book = services.prices
    return {"models": [_price(book, provider, model) for provider, model in used if isinstance(model, str)]}


def _price(book: PriceBook, provider: Any, model: str) -> dict[str, Any]:
    rates = book.rates(model, provider)
    if rates is not None:
        return _known(rates, provider, model)
    price = book.cost(_NOTHING, model=model, provider=provider)
    names = ("status", "source", "version", "flags")
    said = {name: getattr(price, name) for name in names}
    return {"provider": provider, "model": model, "unit_prices": None, "tiers": [], **said}


def _known(rates: ModelRates, provider: Any, model: str) -> dict[str, Any]:
    tiers = [{"above_input_tokens": above, "unit_prices": dict(unit)} for above, unit in rates.tiers]
    return {
        "provider": provider,
        "model": model,
        "status": "priced" if rates.unit_prices else "free",
        "source": rates.source,
        "version": rates.version,
        "unit_prices": dict(rates.unit_prices),
        "tiers": tiers,
        "flags": list(rates.flags),
    }
