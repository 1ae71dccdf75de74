"""What do the numbers mean? Budgets and what is left of them, what was in vain, what was unusual, what will come."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from langchain_tokens.budgetstates import budget_states
from langchain_tokens.dashboard.answering import budget_document
from langchain_tokens.dashboard.questions import BudgetsQuestion, Filters, ForecastQuestion, UnusualQuestion
from langchain_tokens.dashboard.services import Services
from langchain_tokens.errors import QueryError
from langchain_tokens.reports import Findings, findings, forecast, unusual

__all__ = ("Judgements",)


class Judgements:
    """Routes that judge sums; some of them need the extra `analytics`, and say so."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    async def budgets(self, request: Request, question: Annotated[BudgetsQuestion, Query()]) -> Response:
        """What budgets hold now; of one with an account for each name, those with the most first."""
        budgets, limit = self._services.budgets, question.limit

        def make() -> dict[str, Any]:
            states = budget_states(self._store, budgets, limit=limit)
            return {"budgets": [budget_document(state) for state in states]}

        return await self._services.answer(request, make)

    async def findings(self, request: Request, question: Annotated[Filters, Query()]) -> Response:
        """What was spent in vain, each call once, and what could be saved; with the line that mends it."""
        make = partial(_findings, self._services, question.filters())
        return await self._services.answer(request, lambda: make().to_dict())

    async def unusual(self, request: Request, question: Annotated[UnusualQuestion, Query()]) -> Response:
        """Hours, days, sessions or runs that used far more than others, and why."""
        make = partial(unusual, self._store, **question.terms(), **question.filters())
        return await self._services.answer(request, lambda: make().to_dict())

    async def forecast(self, request: Request, question: Annotated[ForecastQuestion, Query()]) -> Response:
        """What the running day, week or month will come to, with an interval."""
        asked = question.filters()
        if "since" in asked or "until" in asked:
            raise QueryError("a forecast finds its range itself: leave since and until out; to= says until when")
        make = partial(forecast, self._store, question.to, measure=question.measure, **asked)
        return await self._services.answer(request, lambda: make().to_dict())


def _findings(services: Services, filters: dict[str, Any]) -> Findings:
    return findings(services.store, prices=services.prices, **filters)
