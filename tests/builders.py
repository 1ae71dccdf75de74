"""Builders: records for tests, each with sensible values for what a test does not care about."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypedDict

from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph

from langchain_tokens import testing
from langchain_tokens.call import Call, RunFact, UsageSource
from langchain_tokens.usage import TokenUsage

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""When builders' calls start."""
TAG_KEYS = ("team", "a.b", "$[0]", "it's", "100 %", "tag:tag", "a:b", "?", "{b}", "A")
"""Tag keys with characters that some SQL dialect or JSON path gives a meaning to."""
ODD_KEYS = ('a "b"', "back\\slash", "caf\u00e9", "\u732b", "line\nfeed")
"""Tag keys with characters that JSON text escapes."""
_NUMBERS = itertools.count(1)
make_usage = testing.make_usage


def make_call(
    *, tokens: tuple[int | None, int | None] | None = (100, 20), cost: str | None = None, **more: Any
) -> Call:
    """A call at noon, whose id is larger than those of earlier ones."""
    return testing.make_call(
        tokens=tokens, cost=cost, **{"call_id": f"call-{next(_NUMBERS)}", "started_at": NOON, **more}
    )


def make_fact(run_id: str = "run-1", **more: Any) -> RunFact:
    """A run that started at noon and ended well two seconds later; `ended_at=None` makes it a running one."""
    ended = more.get("ended_at", NOON + timedelta(seconds=2))
    values: dict[str, Any] = {
        "run_id": run_id,
        "started_at": NOON,
        "ended_at": ended,
        "status": "running" if ended is None else "ok",
    }
    return RunFact(**{**values, **more})


def screen_calls() -> list[Call]:
    """The calls behind the table that the project shows first, smallest first."""
    said = (
        ("table_selection", (320, 12), "0.000026"),
        ("intent_classification", (450, 5), "0.000034"),
        ("sql_generation", (580, 25), "0.000051"),
        ("sql_fix", (650, 30), "0.000057"),
    )
    return [make_call(chain=chain, tokens=tokens, cost=cost) for chain, tokens, cost in said]


def scripted_model(*, text: str = "done", tokens: tuple[int, int] = (10, 5)) -> GenericFakeChatModel:
    """A chat model that gives the same answer with the same usage for ever."""
    return GenericFakeChatModel(messages=_answers(text, tokens))


def _answers(text: str, tokens: tuple[int, int]) -> Iterator[AIMessage]:
    given, answered = tokens
    while True:
        yield AIMessage(
            content=text,
            usage_metadata={"input_tokens": given, "output_tokens": answered, "total_tokens": given + answered},
            response_metadata={"model_name": "scripted-1"},
        )


class State(TypedDict, total=False):
    """The state of the scripted graph."""

    question: str
    answer: str


def scripted_graph(name: str = "nl2sql") -> Any:
    """A compiled graph of two nodes, each with one call to a scripted model."""
    model = scripted_model()

    def sql_generation(state: State) -> State:
        return {"answer": str(model.invoke(state["question"]).content)}

    def sql_fix(state: State) -> State:
        return {"answer": str(model.invoke(state["answer"]).content)}

    builder = StateGraph(State)
    builder.add_node("sql_generation", sql_generation)
    builder.add_node("sql_fix", sql_fix)
    builder.add_edge(START, "sql_generation")
    builder.add_edge("sql_generation", "sql_fix")
    builder.add_edge("sql_fix", END)
    return builder.compile(name=name)


# Random records

NAMES = st.none() | st.sampled_from(["alpha", "beta", "Gamma", "\u732b", "o'brien", "50 %", "<b>"])
"""A name, or none: few, so that groups form; none of them is empty, since an empty name is no name."""
COUNTS = st.none() | st.integers(0, 10_000)
MONEY = st.none() | st.integers(0, 10**15).map(lambda pico: Decimal(pico).scaleb(-12))
QUARTERS = st.none() | st.integers(0, 40_000).map(lambda quarters: quarters / 4)
"""Milliseconds whose sums are exact in floating point, whatever order they are added in."""
MOMENTS = st.builds(
    lambda day, minutes, offset: (datetime(2026, 10, 30, tzinfo=UTC) + timedelta(days=day, minutes=minutes)).astimezone(
        timezone(timedelta(minutes=offset))
    ),
    st.integers(0, 3),
    st.sampled_from([0, 1, 59, 60, 719, 1439]),
    st.sampled_from([0, 330, -480, 765]),
)
"""Moments around midnight and a month's end, in several time zones."""
USAGES = st.none() | st.builds(
    TokenUsage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    total_tokens=st.integers(0, 20_000),  # a usage that says nothing at all is stored as none
    cache_read_tokens=COUNTS,
    cache_write_tokens=COUNTS,
    reasoning_tokens=COUNTS,
)
TAGS = st.dictionaries(st.sampled_from(TAG_KEYS), st.sampled_from(["a", "b", "1", "tr\u00fce", '"']), max_size=3)


@st.composite
def random_calls(draw: st.DrawFn, *, most: int = 12) -> list[Call]:
    """A list of calls that have little in common."""
    return [_random_call(draw, number) for number in range(draw(st.integers(0, most)))]


def _random_call(draw: st.DrawFn, number: int) -> Call:
    usage, cost = draw(USAGES), draw(MONEY)
    known: st.SearchStrategy[UsageSource] = st.sampled_from(["provider", "estimated"])
    return Call(
        call_id=f"call-{number}",
        run_id=draw(st.sampled_from(["run-1", "run-2", "run-3"])),
        started_at=draw(MOMENTS),
        session=draw(NAMES),
        chain=draw(NAMES),
        agent=draw(NAMES),
        path=draw(NAMES),
        mode=draw(NAMES),
        model=draw(NAMES),
        provider=draw(NAMES),
        user=draw(NAMES),
        attempt=draw(st.integers(1, 12)),
        tags=draw(TAGS),
        duration_ms=draw(QUARTERS),
        usage=usage,
        usage_source="missing" if usage is None else draw(known),
        cost_usd=cost,
        price_status="unpriced" if cost is None else draw(st.sampled_from(["priced", "free", "reported"])),
        status=draw(st.sampled_from(["ok", "error", "cancelled", "cached"])),
    )
