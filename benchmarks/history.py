"""What does a long-used store hold? A made-up half year of an application's calls, any number of them, as rows.

The same number and end give the same history. Days, chains, models and users are as many in a small history as in a
large one; sessions and runs grow with the calls, as they do in an application that has more to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import itemgetter
from random import Random
from typing import Any

from benchmarks.application import (
    ATTEMPT_WEIGHTS,
    ATTEMPTS,
    CHAINS,
    HOUR_WEIGHTS,
    MODE_WEIGHTS,
    MODELS,
    MODES,
    STATUS_WEIGHTS,
    STATUSES,
    Model,
)
from langchain_tokens.store.tables import CALLS, RUNS

__all__ = ("CALL_NAMES", "DAYS", "RUN_NAMES", "Row", "call_rows")

Row = tuple[Any, ...]

DAYS = 180
USERS = 1_000
_CALLS_OF_RUN = 7
_CALLS_OF_SESSION = 50
_RUN_SECONDS = 60
_SESSION_SECONDS = 6 * 3_600
_SEED = 20_261_123
_SATURDAY = 5
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # moments are UTC without saying so, as SQLite keeps them
CALL_NAMES = tuple(column.name for column in CALLS.columns)
RUN_NAMES = tuple(column.name for column in RUNS.columns)


class _Slot:
    """A session that goes on, and its run."""

    __slots__ = ("left_in_run", "left_in_session", "mode", "parent", "run_id", "session", "started", "totals", "user")

    def __init__(self) -> None:
        self.left_in_run = self.left_in_session = 0
        self.run_id = self.parent = self.session = self.mode = self.started = ""
        self.user: str | None = None
        self.totals: list[int] = []


class _Choices:
    """What is chosen by weight, quickly: one random number, and a look into a list."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.chains = _spread(CHAINS, [item.weight for item in CHAINS])
        self.models = _spread(MODELS, [item.weight for item in MODELS])
        self.attempts = _spread(ATTEMPTS, ATTEMPT_WEIGHTS)
        self.statuses = _spread(STATUSES, STATUS_WEIGHTS)
        self.modes = _spread(MODES, MODE_WEIGHTS)

    def happens(self, probability: float) -> bool:
        """Whether it does, this time."""
        return self.chance.random() < probability

    def of(self, values: Sequence[Any]) -> Any:
        """One of several."""
        return values[int(self.chance.random() * len(values))]


def call_rows(count: int, *, end: datetime, runs: list[Row] | None = None, seed: int = _SEED) -> Iterator[Row]:
    """Make calls as rows of `llm_call`, the oldest first; moments are UTC text as in SQLite.

    Args:
        count: how many.
        end: the moment of the last of them.
        runs: takes a row of `llm_run` whenever a run is over, and the last ones at the end.
        seed: another one makes another history.

    """
    chance = Random(seed)  # noqa: S311  # no secret
    choices = _Choices(chance)
    sessions = [_Slot() for _ in range(_at_once(count, _CALLS_OF_SESSION, _SESSION_SECONDS))]
    running = sessions[: _at_once(count, _CALLS_OF_RUN, _RUN_SECONDS)]
    for at in _moments(count, end, chance):
        place = int(chance.random() * len(running))
        slot = running[place]
        if slot.left_in_run == 0:
            _begin_run(slot, choices, at)
        values = _call(slot, choices, at)
        _count_in(slot, values)
        yield _of_call(values)
        if slot.left_in_run == 0:
            if runs is not None:
                runs.append(_run(slot, at))
            running[place] = choices.of(sessions)
    if runs is not None:
        runs += [_run(slot, at) for slot in {id(slot): slot for slot in running}.values() if slot.left_in_run > 0]


def _at_once(count: int, calls: int, seconds: int) -> int:
    """How many things of so many calls, each as long as that, go on at the same time."""
    return max(3, round(count / calls * seconds / (DAYS * 86_400)))


def _spread(values: Sequence[Any], weights: Sequence[int]) -> list[Any]:
    """Each value as often as its weight says."""
    return [value for value, weight in zip(values, weights, strict=True) for _ in range(weight)]


def _moments(count: int, end: datetime, chance: Random) -> Iterator[datetime]:
    """The moments of calls: most of them by day, fewer at the weekend, the last one at the end."""
    last = end.astimezone(UTC).replace(tzinfo=None)
    hours = [last - timedelta(hours=back) for back in range(DAYS * 24, 0, -1)]
    weights = [HOUR_WEIGHTS[hour.hour] * (1 if hour.weekday() < _SATURDAY else 0.35) for hour in hours]
    share, made = count / sum(weights), 0
    for start, summed in zip(hours, accumulate(weights), strict=True):
        many = round(summed * share) - made
        made += many
        for second in sorted([chance.random() * 3_600 for _ in range(many)]):
            yield start + timedelta(seconds=second)


def _begin_run(slot: _Slot, choices: _Choices, at: datetime) -> None:
    chance = choices.chance
    if slot.left_in_session <= 0:
        slot.session = _identifier(at, chance)
        slot.left_in_session = 1 + int(chance.random() * 2 * _CALLS_OF_SESSION)
        slot.user = f"user-{int(chance.random() * USERS):04d}@example.com" if choices.happens(0.5) else None
        slot.mode = choices.of(choices.modes)
    slot.run_id, slot.parent = _identifier(at, chance), _identifier(at, chance)
    slot.left_in_run = 1 + int(chance.random() * (2 * _CALLS_OF_RUN - 1))
    slot.started = at.isoformat(" ", "microseconds")
    slot.totals = [0] * 8


def _identifier(at: datetime, chance: Random) -> str:
    """A UUID of version 7, as text."""
    text = f"{int((at - _EPOCH).total_seconds() * 1_000):012x}7{chance.getrandbits(76):019x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-a{text[17:20]}-{text[20:]}"


_CACHED = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "total_cost": 0,
    "saved_cost": 900_000_000,
    "saved_usage": '{"input_tokens":1200,"output_tokens":340,"total_tokens":1540}',
    "usage_source": "provider",
    "price_status": "free",
}
"""Of a call that LangChain's cache answered."""
_BASE = dict.fromkeys(CALL_NAMES)
_BASE_RUN = dict.fromkeys(RUN_NAMES)
_of_call: Callable[[Any], Row] = itemgetter(*CALL_NAMES)
_of_run: Callable[[Any], Row] = itemgetter(*RUN_NAMES)


def _call(slot: _Slot, choices: _Choices, at: datetime) -> dict[str, Any]:
    """A call's row by column."""
    chance = choices.chance
    slot.left_in_run -= 1
    slot.left_in_session -= 1
    chain, model, status = choices.of(choices.chains), choices.of(choices.models), choices.of(choices.statuses)
    attempt = choices.of(choices.attempts)
    duration = 300.0 + int(chance.expovariate(0.0004) * 1_000) / 1_000
    values: dict[str, Any] = {
        **_BASE,
        "call_id": _identifier(at, chance),
        "run_id": slot.run_id,
        "parent_run_id": slot.parent,
        "session_id": slot.session,
        "chain_name": chain.chain,
        "agent_name": chain.agent,
        "path": chain.path,
        "node": chain.node,
        "step": 1 + slot.left_in_run,
        "attempt": attempt,
        "mode": slot.mode,
        "model_name": model.model,
        "requested_model": model.requested,
        "provider": model.provider,
        "user_id": slot.user,
        "tags": '{"release":"2026.11.2","team":"data"}' if choices.happens(0.3) else None,
        "started_at": at.isoformat(" ", "microseconds"),
        "ended_at": (at + timedelta(milliseconds=duration)).isoformat(" ", "microseconds"),
        "duration_ms": duration,
        "status": status,
        "price_status": "unpriced",
        "usage_source": "missing",
        "streamed": choices.happens(0.4),
        "superseded": choices.happens(0.02),
        "revision": 0,
    }
    if attempt > 1:
        values |= {"retry_kind": "retry", "attempt_error": "OutputParserException"}
    if status == "error":
        values |= {"error_type": "RateLimitError", "error_message": "Error code: 429 - rate limit reached for requests"}
    elif status == "cached":
        values |= _CACHED
    elif status != "cancelled" and choices.happens(0.985):
        values |= _usage(model, choices, values)
    return values


def _usage(model: Model, choices: _Choices, call: dict[str, Any]) -> dict[str, Any]:
    chance = choices.chance
    given, answered = int(200 + chance.expovariate(0.0006)), int(20 + chance.expovariate(0.004))
    cached = given // 2 if choices.happens(0.35) else 0
    thought = answered // 3 if choices.happens(0.2) else 0
    values: dict[str, Any] = {
        "message_id": f"lc_run--{call['call_id']}",
        "input_tokens": given,
        "output_tokens": answered,
        "total_tokens": given + answered,
        "cache_read_tokens": cached,
        "reasoning_tokens": thought,
        "usage_source": "estimated" if choices.happens(0.01) else "provider",
        "raw_usage": model.usage.format(
            given, answered, given + answered, cached, thought, given - cached, answered - thought
        ),
        "finish_reason": "stop" if choices.happens(0.8) else "tool_calls",
        "time_to_first_token_ms": call["duration_ms"] / 4 if call["streamed"] else None,
        "tokens_per_second": answered / (call["duration_ms"] / 1_000),
    }
    if values["finish_reason"] == "tool_calls":
        values["tool_calls"] = '["run_query"]'
    return values | (_price(model, given, answered, cached) if choices.happens(0.99) else {})


def _price(model: Model, given: int, answered: int, cached: int) -> dict[str, Any]:
    saved = cached * model.input_price * 9 // 10
    paid, for_answer = given * model.input_price - saved, answered * model.output_price
    return {
        "input_cost": paid,
        "output_cost": for_answer,
        "total_cost": paid + for_answer,
        "saved_cost": saved,
        "unit_prices": model.prices,
        "price_status": "priced",
        "price_source": "genai-prices",
        "price_version": "0.2.3",
        "priced_provider": model.provider,
        "priced_model": model.requested,
    }


_TOTALS = ("input_tokens", "output_tokens", "total_tokens", "total_cost")


def _count_in(slot: _Slot, call: dict[str, Any]) -> None:
    """Add a call to the totals of its run: the first half counts calls, the others stay 0 where nothing is known."""
    totals = slot.totals
    totals[0] += 1
    totals[1] += call["status"] == "error"
    totals[2] += call["total_tokens"] is None
    totals[3] += call["price_status"] == "unpriced"
    for place, name in enumerate(_TOTALS, 4):
        totals[place] += call[name] or 0


def _run(slot: _Slot, at: datetime) -> Row:
    """A run's row; one call or more in it may know nothing, all of them hardly ever: then its sums are NULL."""
    calls, failed, without_usage, unpriced, *sums = slot.totals
    known = [None if calls == without_usage else value for value in sums[:3]]
    return _of_run(
        {
            **_BASE_RUN,
            "run_id": slot.run_id,
            "name": "assistant",
            "session_id": slot.session,
            "mode": slot.mode,
            "user_id": slot.user,
            "started_at": slot.started,
            "ended_at": at.isoformat(" ", "microseconds"),
            "duration_ms": (at - datetime.fromisoformat(slot.started)).total_seconds() * 1_000,
            "status": "error" if failed else "ok",
            "calls": calls,
            "failed_calls": failed,
            "calls_without_usage": without_usage,
            "unpriced_calls": unpriced,
            "first_call_at": slot.started,
            "last_call_at": at.isoformat(" ", "microseconds"),
            **dict(zip(_TOTALS, [*known, None if calls == unpriced else sums[3]], strict=True)),
        }
    )
