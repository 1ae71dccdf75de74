"""What does the application say itself? A call that was made without LangChain, checked and made a `Call`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from langchain_core.utils.uuid import uuid7

from langchain_tokens.call import NOTHING_USED, Call, CallStatus, RunFact
from langchain_tokens.counting import Reading
from langchain_tokens.errors import TokensError
from langchain_tokens.masking import error_text
from langchain_tokens.names import Names, Scope
from langchain_tokens.shapes import read
from langchain_tokens.trouble import Warnings
from langchain_tokens.usage import COUNTS, TokenUsage

__all__ = ("Given", "given_call")

_LONGEST_MS = 100 * 365 * 24 * 3600 * 1000
"""A hundred years: what is longer is no duration (and may be beyond the calendar)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The arguments of `TokenUsageHandler.record`."""

    usage: Any
    names: Names
    model: str | None
    provider: str | None
    run_id: str | None
    status: str
    error: str | BaseException | None
    started_at: datetime | None
    duration_ms: float | None
    attempt: int | None


def given_call(given: Given, defaults: Names, scope: Scope | None, warnings: Warnings) -> tuple[Call, RunFact]:
    """Make the call and the fact of its run.

    Raises:
        TokensError: for a status, time or number that cannot be.

    """
    _check(given)
    reading = _reading(given.usage, warnings)
    around = scope.names if scope is not None else Names()
    named = {**defaults.given(), **around.given(), **given.names.given()}
    tags = {**defaults.tags, **around.tags, **given.names.tags}
    duration = timedelta(milliseconds=given.duration_ms or 0.0)
    started = given.started_at or datetime.now(UTC) - duration
    ended = started + duration if given.duration_ms is not None else None
    fact = _fact(given, scope, started, ended, named=named, tags=tags)
    is_cached = given.status == "cached"
    attempt = given.attempt if given.attempt is not None else _number(named.get("attempt"))
    return Call(
        call_id=str(uuid7()),
        run_id=fact.run_id,
        session=named.get("session"),
        chain=named.get("chain"),
        agent=named.get("agent"),
        path="/".join(name for name in (fact.name, named.get("chain")) if name) or None,
        attempt=1 if attempt is None else attempt,
        mode=named.get("mode"),
        model=given.model,
        requested_model=given.model,
        provider=given.provider,
        user=named.get("user"),
        tags=tags,
        started_at=started,
        ended_at=ended,
        duration_ms=given.duration_ms,
        usage=NOTHING_USED if is_cached else reading.usage,
        saved_usage=reading.usage if is_cached else None,
        usage_source="missing" if reading.usage is None and not is_cached else "provider",
        usage_flags=reading.flags,
        raw_usage=reading.raw,
        status=given.status,  # type: ignore[arg-type]  # checked above
        **_errors(given, named.get("error")),
    ), fact


def _errors(given: Given, named: str | None) -> dict[str, Any]:
    """An error of a call that failed is its own; of another, what made this attempt necessary."""
    text = None if given.error is None else error_text(given.error)
    if given.status != "error":
        return {"attempt_error": text or named}
    kind = type(given.error).__name__ if isinstance(given.error, BaseException) else None
    return {"attempt_error": named, "error_type": kind, "error_message": text}


def _fact(
    given: Given,
    scope: Scope | None,
    started: datetime,
    ended: datetime | None,
    *,
    named: dict[str, str],
    tags: dict[str, str],
) -> RunFact:
    if given.run_id is None and scope is not None and scope.log is not None:
        return scope.log.fact
    return RunFact(
        run_id=given.run_id or (scope.run_id if scope is not None else None) or str(uuid7()),
        started_at=started,
        ended_at=ended,
        session=named.get("session"),
        mode=named.get("mode"),
        user=named.get("user"),
        tags=tags,
        status="error" if given.status == "error" else "ok",
    )


def _reading(usage: Any, warnings: Warnings) -> Reading:
    if usage is None:
        return Reading(usage=None, flags=(), raw=None, shape=None)
    if isinstance(usage, TokenUsage):
        return Reading(usage=_checked_usage(usage), flags=(), raw=None, shape="TokenUsage")
    reading = read(usage)
    if reading.usage is None:
        warnings.once(
            "given usage", f"no usage could be read from a {type(usage).__name__}; the call is recorded without"
        )
    return reading


def _checked_usage(usage: TokenUsage) -> TokenUsage:
    """The same with its total, as `TokenUsage.total_tokens` promises it."""
    for name in COUNTS:
        count = getattr(usage, name)
        if count is not None and not (type(count) is int and count >= 0):
            raise TokensError(f"{name}={count!r}; expected a whole number of tokens from 0 on, or None")
    if usage.total_tokens is not None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    return replace(usage, total_tokens=usage.input_tokens + usage.output_tokens)


def _check(given: Given) -> None:
    allowed = get_args(CallStatus)
    if given.status not in allowed:
        raise TokensError(f"status={given.status!r}; expected one of {', '.join(allowed)}")
    moment: object = given.started_at
    if moment is not None and not (isinstance(moment, datetime) and moment.tzinfo is not None):
        raise TokensError(f"started_at={moment!r}; expected an aware datetime, such as datetime.now(UTC)")
    duration: object = given.duration_ms
    if duration is not None and not (isinstance(duration, (int, float)) and 0 <= duration <= _LONGEST_MS):
        raise TokensError(f"duration_ms={duration!r}; expected milliseconds from 0 on, or None")
    attempt: object = given.attempt
    if attempt is not None and not (isinstance(attempt, int) and attempt >= 1):
        raise TokensError(f"attempt={attempt!r}; expected a whole number from 1 on")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
