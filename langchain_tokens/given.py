"""What does the application say itself? A call that was made without LangChain, checked and made a `Call`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard, get_args
from uuid import UUID

from langchain_core.utils.uuid import uuid7

from langchain_tokens.call import NOTHING_USED, Call, CallStatus, RunFact, bounded_call, bounded_fact, reported_cost
from langchain_tokens.errors import TokensError
from langchain_tokens.limits import EARLIEST, LONGEST_MS, MOST_ATTEMPTS, MOST_TOKENS
from langchain_tokens.masking import error_text
from langchain_tokens.names import Names, Scope, checked_name
from langchain_tokens.paths import join_path
from langchain_tokens.plain import as_mapping, detached
from langchain_tokens.reading.agreement import contradictions
from langchain_tokens.reading.counting import Reading
from langchain_tokens.registry import REGISTRY
from langchain_tokens.shapes import read
from langchain_tokens.trouble import Warnings
from langchain_tokens.usage import COUNTS, TokenUsage

__all__ = ("Given", "checked_run_id", "given_call")

_MOST_UNITS = 2**63 - 1
"""Units may be nanoseconds."""
_MODEL_KEYS = ("model", "model_name", "modelVersion", "model_version")
_HOLDERS = ("response", "message", "response_metadata")


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

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            TokensError: for a status, time, number or text that cannot be.

        """
        _check_times(self.started_at, self.duration_ms)
        _check_status(self.status, self.error)
        if self.attempt is not None and not _is_whole(self.attempt, 1, MOST_ATTEMPTS):
            raise TokensError(f"attempt={self.attempt!r}; expected a whole number from 1 to {MOST_ATTEMPTS:,}")
        for name in ("model", "provider"):
            object.__setattr__(self, name, checked_name(name, getattr(self, name)))


def given_call(given: Given, defaults: Names, scope: Scope | None, warnings: Warnings) -> tuple[Call, RunFact]:
    """Make the call and the fact of its run.

    Raises:
        TokensError: for a count in a `TokenUsage` that cannot be.

    """
    reading, said = _reading(given.usage, warnings), _said_model(given.usage)
    around = scope.names if scope is not None else Names()
    named = {**defaults.given(), **around.given(), **given.names.given()}
    tags = {**defaults.tags, **around.tags, **given.names.tags}
    duration = timedelta(milliseconds=given.duration_ms or 0.0)
    started = (given.started_at or datetime.now(UTC) - duration).astimezone(UTC)
    ended = started + duration if given.duration_ms is not None else None
    fact = _fact(given, scope, started, ended, named=named, tags=tags)
    is_cached = given.status == "cached"
    attempt = given.attempt if given.attempt is not None else _number(named.get("attempt"))
    call = Call(
        call_id=str(uuid7()),
        run_id=fact.run_id,
        session=named.get("session"),
        chain=named.get("chain"),
        agent=named.get("agent"),
        path=join_path([name for name in (fact.name, named.get("chain")) if name]),
        attempt=1 if attempt is None else attempt,
        mode=named.get("mode"),
        model=said or given.model,
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
        **({} if is_cached else reported_cost(reading.reported_cost_usd)),
        status=given.status,  # type: ignore[arg-type]  # checked above
        **_errors(given, named.get("error")),
    )
    return bounded_call(call), fact


def _errors(given: Given, named: str | None) -> dict[str, Any]:
    """An error of a call that failed is its own; of another, what made this attempt necessary."""
    text = None if given.error is None else REGISTRY.failures.known(error_text(given.error))
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
    fact = RunFact(
        run_id=given.run_id or (scope.run_id if scope is not None else None) or str(uuid7()),
        started_at=started,
        ended_at=ended,
        session=named.get("session"),
        mode=named.get("mode"),
        user=named.get("user"),
        tags=tags,
        status="error" if given.status == "error" else "ok",
        is_given=True,
    )
    return bounded_fact(fact)


def _reading(usage: Any, warnings: Warnings) -> Reading:
    if usage is None:
        return Reading(usage=None, flags=(), raw=None, shape=None)
    if isinstance(usage, TokenUsage):
        checked = _checked_usage(usage)
        return Reading(usage=checked, flags=tuple(sorted(contradictions(checked))), raw=None, shape="TokenUsage")
    reading = read(usage)
    if reading.usage is not None:
        _check_counts(reading.usage)
    else:
        warnings.once(
            "given usage", f"no usage could be read from a {type(usage).__name__}; the call is recorded without"
        )
        held = as_mapping(usage)
        if held and not reading.flags:
            return replace(reading, flags=("unknown_shape",), raw=_numbers(detached(held)))
    return reading


def _numbers(payload: Any) -> Any:
    """The numbers in something of no known shape, by their names; the texts in it may be content."""
    kept = {key: _numbers(value) if isinstance(value, Mapping) else value for key, value in payload.items()}
    return {
        key: value
        for key, value in kept.items()
        if isinstance(value, int | float) or (value and isinstance(value, Mapping))
    }


def _said_model(usage: Any) -> str | None:
    """The model that a response itself names; it served the call, whatever was asked for."""
    for body in usage if isinstance(usage, list | tuple) else (usage,):
        held = None if isinstance(body, TokenUsage) else _viewed(body)
        for holder in (held, *(_viewed(held.get(key)) for key in _HOLDERS)) if held else ():
            named = (holder.get(key) for key in _MODEL_KEYS) if holder else ()
            found = next((name for name in named if isinstance(name, str) and name), None)
            if found is not None:
                return found
    return None


def _viewed(value: Any) -> Mapping[Any, Any] | None:
    try:
        return as_mapping(value)
    except Exception:  # noqa: BLE001  # a foreign object may fail even at being looked at
        return None


def _checked_usage(usage: TokenUsage) -> TokenUsage:
    """The same with its total, as `TokenUsage.total_tokens` promises it."""
    _check_counts(usage)
    checked_name("service_tier", usage.service_tier)
    _check_units(usage.other_units)
    if usage.total_tokens is not None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    return replace(usage, total_tokens=usage.input_tokens + usage.output_tokens)


def _check_counts(usage: TokenUsage) -> None:
    for name in COUNTS:
        count = getattr(usage, name)
        if count is not None and not _is_whole(count, 0, MOST_TOKENS):
            raise TokensError(f"{name}={count!r}; expected a whole number of tokens from 0 to {MOST_TOKENS:,}, or None")


def _check_units(units: object) -> None:
    if units is None:
        return
    if not isinstance(units, Mapping):
        raise TokensError(f"other_units={units!r} is a {type(units).__name__}; expected a mapping of text to numbers")
    for name, count in units.items():
        if not isinstance(name, str):
            raise TokensError(f"other_units has the key {name!r}, a {type(name).__name__}; expected text")
        if not (_is_number(count) and 0 <= count <= _MOST_UNITS):
            raise TokensError(f"other_units[{name!r}]={count!r}; expected a number from 0 to {_MOST_UNITS:,}")


def _check_times(started_at: object, duration_ms: object) -> None:
    if duration_ms is not None and not (_is_number(duration_ms) and 0 <= duration_ms <= LONGEST_MS):
        raise TokensError(f"duration_ms={duration_ms!r}; expected milliseconds from 0 on, or None")
    if started_at is None:
        return
    if not isinstance(started_at, datetime) or started_at.utcoffset() is None:
        raise TokensError(f"started_at={started_at!r}; expected an aware datetime, such as datetime.now(UTC)")
    try:
        started_at.astimezone(UTC) + timedelta(milliseconds=duration_ms or 0.0)
    except OverflowError:
        raise TokensError(
            f"started_at={started_at!r} with duration_ms={duration_ms!r} is beyond the calendar"
        ) from None
    if started_at < EARLIEST:
        raise TokensError(f"started_at={started_at!r}; expected a time from 1970 on")


def _check_status(status: object, error: object) -> None:
    allowed = get_args(CallStatus)
    if status not in allowed:
        raise TokensError(f"status={status!r}; expected one of {', '.join(allowed)}")
    if error is not None and not isinstance(error, (str, BaseException)):
        raise TokensError(f"error={error!r} is a {type(error).__name__}; expected an exception or text")


def checked_run_id(run_id: object) -> str | None:
    """A run's id as text; empty text names no run.

    Raises:
        TokensError: for anything else than a UUID or text.

    """
    if run_id is not None and not isinstance(run_id, (str, UUID)):
        raise TokensError(f"run_id={run_id!r} is a {type(run_id).__name__}; expected a UUID or text")
    return checked_name("run_id", run_id)


def _is_whole(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(text: str | None) -> int | None:
    """An attempt's number out of a name; one that no column holds is none."""
    if text is None or not text.isdecimal() or len(text) > len(str(MOST_ATTEMPTS)):
        return None
    number = int(text)
    return number if 1 <= number <= MOST_ATTEMPTS else None
