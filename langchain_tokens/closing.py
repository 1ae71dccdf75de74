"""What is known when a call ends? An open call, its answer and its error become the frozen `Call`."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from langchain_tokens.answers import Answer
from langchain_tokens.call import NOTHING_USED, Call, CallStatus, RunFact, bounded_call, reported_cost
from langchain_tokens.content import Content, arrived_in, content_of, sent_with
from langchain_tokens.making import maker
from langchain_tokens.opencall import OpenCall
from langchain_tokens.roots import run_status

__all__ = ("call_at_start", "closed_call", "content_to_estimate", "ended_alone", "new_of_run")

_make_call = maker(Call)


def call_at_start(opened: OpenCall) -> Call:
    """What is known of a call when it starts; nothing that is recorded."""
    return Call(
        call_id=opened.call_id,
        run_id=opened.root.run_id,
        session=opened.session,
        chain=opened.chain,
        agent=opened.agent,
        path=opened.path,
        mode=opened.mode,
        model=opened.requested_model,
        requested_model=opened.requested_model,
        provider=opened.provider,
        user=opened.user,
        tags=opened.tags,
        started_at=opened.started_at,
    )


def closed_call(
    opened: OpenCall,
    ended: float | None,
    answer: Answer | None,
    error: BaseException | None,
    *,
    text: str | None = None,
    content: Content | None = None,
) -> Call:
    """Make the call's record.

    Args:
        opened: the call as it was attributed when it started.
        ended: the monotonic clock's seconds at its end; None where nobody saw it.
        answer: what its answer said; None where there was none, or it could not be read.
        error: what ended it; with neither answer nor error it never ended, and is taken for cancelled.
        text: the error's text as it may be stored.
        content: what its usage is to be estimated from; None where it is not.

    """
    seconds = None if ended is None else ended - opened.clock
    first_token = None if opened.first_token is None else (opened.first_token - opened.clock) * 1000
    status = _status(answer, error)
    failure = error if status == "error" else None
    call = _make_call(
        call_id=opened.call_id,
        run_id=opened.root.run_id,
        parent_run_id=opened.parent,
        session=opened.session,
        chain=opened.chain,
        agent=opened.agent,
        path=opened.path,
        node=opened.node,
        step=opened.step,
        attempt=opened.attempt,
        attempt_error=opened.attempt_error,
        retry_kind=opened.retry_kind,
        mode=opened.mode,
        model=(answer.model if answer is not None else None) or opened.requested_model,
        requested_model=opened.requested_model,
        provider=_provider(opened, answer),
        user=opened.user,
        tags=opened.tags,
        started_at=opened.started_at,
        ended_at=None if seconds is None else opened.started_at + timedelta(seconds=seconds),
        duration_ms=None if seconds is None else seconds * 1000,
        time_to_first_token_ms=None if status == "cached" else first_token,
        status=status,
        error_type=None if failure is None else type(failure).__name__,
        error_message=None if failure is None else text,
        streamed=opened.streamed,
        **({} if answer is None else _said(answer, status)),
        estimate_basis=None if content is None else content.basis,
        revision=1 if opened.provisional and (answer is not None or error is not None) else 0,
    )
    return bounded_call(call)


def new_of_run(opened: OpenCall, call: Call, error: BaseException | None) -> RunFact | None:
    """What the end of a call says of its run: its end, where that is all that will be seen of it; else that it goes on,
    once.
    """
    root = opened.root
    if ended_alone(opened):
        return root.ended(call.ended_at, error, call.error_message)
    if root.origin is not None and root.origin.end is not None:  # for another handler it ended before this call did
        return root.origin.end
    return None if root.is_announced else root.fact()


def ended_alone(opened: OpenCall) -> bool:
    """Tell whether the end of this call is all that will be seen of its run's end: a bare call, or one whose run was
    never seen to start.
    """
    return opened.root.log is None and (opened.root.is_partial or opened.root.run_id == opened.run_id)


def content_to_estimate(
    opened: OpenCall, response: Any, answer: Answer | None, error: BaseException | None, *, is_wanted: bool
) -> Content | None:
    """What the usage of a call that ends is to be estimated from; None where it need not or must not be."""
    asked, pieces, earlier = opened.asked_content, opened.pieces, opened.estimate_basis
    opened.asked_content = opened.pieces = None
    if not _needs_estimate(answer) or (asked is None and earlier is None) or not is_wanted:
        return None
    content = content_of(None if asked is None else sent_with(*asked), arrived_in(response, pieces), earlier)
    if error is not None and run_status(error) != "cancelled" and not content.basis["arrived_characters"]:
        return None  # refused, as far as anybody knows, and then nothing is billed
    opened.estimate_basis = content.basis
    return content


def _needs_estimate(answer: Answer | None) -> bool:
    """Tell whether something of a call's usage is unknown that an estimate can stand in for."""
    if answer is None:
        return True
    usage = answer.reading.usage
    if answer.is_from_cache or answer.is_counted_elsewhere:
        return False
    return usage is None or usage.input_tokens is None or usage.output_tokens is None


def _status(answer: Answer | None, error: BaseException | None) -> CallStatus:
    if error is not None:
        return "cancelled" if run_status(error) == "cancelled" else "error"
    if answer is None:
        return "cancelled"
    return "cached" if answer.is_from_cache else "ok"


def _said(answer: Answer, status: CallStatus) -> dict[str, Any]:
    """The fields that the answer says. One from LangChain's cache reached no provider, and used nothing; of a batch of
    prompts the first call says what all of them used, and the others used and cost nothing beyond that.
    """
    reading = answer.reading
    is_cached, is_in_first = status == "cached", answer.is_counted_elsewhere
    return {
        "usage": NOTHING_USED if is_cached or is_in_first else reading.usage,
        "saved_usage": reading.usage if is_cached else None,
        "usage_source": "provider" if reading.usage is not None or is_cached or is_in_first else "missing",
        "usage_flags": (*reading.flags, "batch_usage_in_first") if is_in_first else reading.flags,
        "raw_usage": reading.raw,
        **({} if is_cached else reported_cost(reading.reported_cost_usd)),
        **(_PAID_IN_FIRST if is_in_first else {}),
        "tool_calls": answer.tool_calls,
        "finish_reason": answer.finish_reason,
        "message_id": answer.response_id or answer.message_id,
    }


def _provider(opened: OpenCall, answer: Answer | None) -> str | None:
    """Who served the call: as the client says at its start; where that is no more than its class's name, as the answer
    says.
    """
    said = None if answer is None else answer.provider
    if said is not None and (opened.provider is None or opened.provider == (opened.model_class or "").lower()):
        return said
    return opened.provider


_PAID_IN_FIRST: dict[str, Any] = {
    "cost_usd": Decimal(0),
    "price_status": "free",
    "price_source": "batch_usage_in_first",
}
