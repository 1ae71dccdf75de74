"""What does a row of another system say of a call, and which call is it? The same row gives the same id for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid5

from langchain_tokens.call import NOTHING_USED, Call, CallStatus, RunFact, reported_cost
from langchain_tokens.masking import error_text
from langchain_tokens.reading.agreement import contradictions
from langchain_tokens.usage import COUNTS, TokenUsage

__all__ = ("Draft", "Imprint", "id_from", "made")

_OURS: Final = UUID("5f0c7a52-9a5e-5f7e-8a8b-6f3d3d3f9a10")
"""In whose name ids are derived; another one would give every imported call another id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a row says of one call; None is unknown."""

    key: str | None = None
    """The row's own id in its system, where it has one."""
    call_id: str | None = None
    """The id of a model's run, where the system keeps LangChain's."""
    run: str | None = None
    """What holds calls together in the system: a trace, a document, a conversation's turn."""
    run_id: str | None = None
    """The same, where it is LangChain's own id."""
    run_name: str | None = None
    usage: TokenUsage | None = None
    usage_flags: tuple[str, ...] = ()
    raw_usage: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    duration_ms: float | None = None
    time_to_first_token_ms: float | None = None
    model: str | None = None
    requested_model: str | None = None
    provider: str | None = None
    chain: str | None = None
    agent: str | None = None
    session: str | None = None
    user: str | None = None
    mode: str | None = None
    attempt: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)
    status: CallStatus = "ok"
    error: str | None = None
    cost_usd: Decimal | None = None
    """What the system says it cost. A 0 is what many write where they know no price, and says nothing."""
    tool_calls: tuple[str, ...] = ()
    streamed: bool | None = None
    finish_reason: str | None = None
    message_id: str | None = None
    """The id that the provider gave to its answer."""
    content: str | None = None
    """What tells this call from others with the same numbers, such as its prompt; never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imprint:
    """What an import says of all its rows."""

    form: str
    fallback_time: datetime
    """When calls started whose rows name no time."""
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def made(draft: Draft, imprint: Imprint) -> tuple[Call, RunFact]:
    """The call, not yet priced, and what it says of its run."""
    call_id = draft.call_id or id_from(imprint.form, draft.key or _content_of(draft))
    started = draft.started_at or imprint.fallback_time
    ended = None if draft.duration_ms is None else started + timedelta(milliseconds=draft.duration_ms)
    session, tags = draft.session or imprint.session, {**imprint.tags, **draft.tags}
    fact = RunFact(
        run_id=draft.run_id or id_from(imprint.form, "run", draft.run or call_id),
        started_at=started,
        name=draft.run_name,
        session=session,
        mode=draft.mode,
        user=draft.user,
        tags=tags,
        ended_at=ended,
        status="error" if draft.status == "error" else "ok",
        is_given=True,
    )
    shared: dict[str, Any] = {name: getattr(draft, name) for name in _SHARED}
    return Call(
        call_id=call_id,
        run_id=fact.run_id,
        started_at=started,
        ended_at=ended,
        session=session,
        path="/".join(name for name in (draft.run_name, draft.chain) if name) or None,
        tags=tags,
        error_message=None if draft.error is None else error_text(draft.error),
        **shared,
        **_usage(draft),
        **_cost(draft, imprint.form),
    ), fact


def id_from(*parts: str) -> str:
    """An id that follows from texts."""
    return str(uuid5(_OURS, json.dumps(parts)))


_SHARED: Final = (
    "duration_ms",
    "time_to_first_token_ms",
    "model",
    "requested_model",
    "provider",
    "chain",
    "agent",
    "user",
    "mode",
    "attempt",
    "status",
    "tool_calls",
    "streamed",
    "finish_reason",
    "message_id",
    "raw_usage",
)
"""Fields that a call has as its draft has them."""


def _usage(draft: Draft) -> dict[str, Any]:
    usage = _whole(draft.usage)
    odd = set() if usage is None else contradictions(usage)
    flags = tuple(sorted({*draft.usage_flags, *odd}))
    if draft.status == "cached":
        return {"usage": NOTHING_USED, "saved_usage": usage, "usage_source": "provider", "usage_flags": flags}
    return {"usage": usage, "usage_source": "missing" if usage is None else "provider", "usage_flags": flags}


def _whole(usage: TokenUsage | None) -> TokenUsage | None:
    """A usage with its total; None where nothing is said."""
    if usage is None or all(getattr(usage, name) is None for name in COUNTS):
        return None
    if usage.total_tokens is not None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    values = {item.name: getattr(usage, item.name) for item in fields(usage)}
    return TokenUsage(**{**values, "total_tokens": usage.input_tokens + usage.output_tokens})


def _cost(draft: Draft, form: str) -> dict[str, Any]:
    """The cost as reported; a cache's answer has the price book's."""
    if not draft.cost_usd or draft.status == "cached":
        return {}
    return {**reported_cost(draft.cost_usd), "price_source": form}


def _content_of(draft: Draft) -> str:
    """All that a draft says, as one text: rows that say the same are the same call."""
    said = ((item.name, getattr(draft, item.name)) for item in fields(draft))
    told = [[name, _told(value)] for name, value in said if value is not None and value not in ((), {})]
    return json.dumps(told, sort_keys=True, default=str)


def _told(value: Any) -> Any:
    if isinstance(value, TokenUsage):
        return {name: getattr(value, name) for name in COUNTS}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return dict(value) if isinstance(value, Mapping) else value
