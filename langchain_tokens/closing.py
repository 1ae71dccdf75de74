"""What is known when a call ends? An open call, its answer and its error become the frozen `Call`."""

from __future__ import annotations

from datetime import timedelta

from langchain_tokens.answers import Answer
from langchain_tokens.call import Call, CallStatus
from langchain_tokens.masking import error_text
from langchain_tokens.opencall import OpenCall
from langchain_tokens.roots import run_status
from langchain_tokens.usage import TokenUsage

__all__ = ("closed_call", "ended_alone")


def closed_call(opened: OpenCall, ended: float, answer: Answer | None, error: BaseException | None) -> Call:
    """Make the call's record.

    Args:
        opened: the call as it was attributed when it started.
        ended: the monotonic clock's seconds at its end.
        answer: what its answer said; None where there was none, or it could not be read.
        error: what ended it; with neither answer nor error it never ended, and is taken for cancelled.

    """
    seconds = ended - opened.clock
    first_token = None if opened.first_token is None else (opened.first_token - opened.clock) * 1000
    status = _status(answer, error)
    said, saved = _usage(answer, status)
    counted_elsewhere = answer is not None and answer.is_counted_elsewhere and opened.batch_size > 1
    return Call(
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
        provider=opened.provider,
        user=opened.user,
        tags=opened.tags,
        started_at=opened.started_at,
        ended_at=opened.started_at + timedelta(seconds=seconds),
        duration_ms=seconds * 1000,
        time_to_first_token_ms=None if status == "cached" else first_token,
        usage=said,
        usage_source="missing" if said is None and not counted_elsewhere else "provider",
        usage_flags=_flags(answer, counted_elsewhere=counted_elsewhere),
        saved_usage=saved,
        raw_usage=answer.reading.raw if answer is not None else None,
        status=status,
        error_type=type(error).__name__ if status == "error" and error is not None else None,
        error_message=error_text(error) if status == "error" and error is not None else None,
        tool_calls=answer.tool_calls if answer is not None else (),
        streamed=opened.streamed,
        finish_reason=answer.finish_reason if answer is not None else None,
        message_id=answer.message_id if answer is not None else None,
        revision=1 if opened.provisional and (answer is not None or error is not None) else 0,
    )


def ended_alone(opened: OpenCall) -> bool:
    """Tell whether the end of this call is all that will be seen of its run's end: a bare call, or one whose run was
    never seen to start.
    """
    return opened.root.log is None and (opened.root.is_partial or opened.root.run_id == opened.run_id)


def _status(answer: Answer | None, error: BaseException | None) -> CallStatus:
    if error is not None:
        return "cancelled" if run_status(error) == "cancelled" else "error"
    if answer is None:
        return "cancelled"
    return "cached" if answer.is_from_cache else "ok"


def _usage(answer: Answer | None, status: CallStatus) -> tuple[TokenUsage | None, TokenUsage | None]:
    """What was used, and what a cache saved: a call answered by LangChain's cache reached no provider, and used
    nothing.
    """
    usage = answer.reading.usage if answer is not None else None
    if status != "cached":
        return usage, None
    return TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0), usage


def _flags(answer: Answer | None, *, counted_elsewhere: bool) -> tuple[str, ...]:
    flags = answer.reading.flags if answer is not None else ()
    return (*flags, "batch_usage_in_first") if counted_elsewhere else flags
