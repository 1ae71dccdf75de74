"""What can a report be about? A store, a handler or a run; each adds up what it knows of the same question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_tokens.breakdown import add_up
from langchain_tokens.errors import TokensError
from langchain_tokens.query import Query
from langchain_tokens.run import Run
from langchain_tokens.sums import Sums

if TYPE_CHECKING:
    from langchain_tokens.handler import TokenUsageHandler
    from langchain_tokens.store.store import UsageStore

    Source = UsageStore | TokenUsageHandler | Run

__all__ = ("Source", "sums_of")


def sums_of(source: Source, query: Query) -> list[tuple[tuple[Any, ...], Sums]]:
    """For each key of a query what its calls add up to.

    Args:
        source: a store, which answers from the sums that it keeps; a handler, about what it saw; or a run.
        query: what to group by, and which calls count.

    Raises:
        QueryError: for a question that the source cannot answer.
        TokensError: for another source.

    """
    if isinstance(source, Run):
        return list(add_up(source.calls, query).items())
    kinds = {kind.__name__ for kind in type(source).__mro__}  # by name: neither has to be loaded for the other
    if "UsageStore" in kinds:
        return cast("UsageStore", source)._sums(query)
    if "TokenUsageHandler" in kinds:
        return list(cast("TokenUsageHandler", source)._capture.memory.sums(query).items())
    raise TokensError(f"{source!r} is a {type(source).__name__}; expected a UsageStore, a TokenUsageHandler or a Run")
