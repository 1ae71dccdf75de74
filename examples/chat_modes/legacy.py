"""What does the old user interface want? The shapes that the application's own tracker used to give it."""

from __future__ import annotations

from typing import Any

from langchain_tokens import Call, Run

__all__ = ("conversation_shape", "token_usage_row")


def conversation_shape(run: Run) -> dict[str, Any]:
    """A conversation as the old page shows it: one step for each call to a model, in the order of their starts.

    Unknown tokens are None, where the old tracker made a 0 of them; the total is over those that are known.
    """
    steps = [
        {
            "step_name": f"{call.agent or run.mode} {call.chain}",
            "actual_tokens": None if call.usage is None else call.usage.total_tokens,
            "duration_ms": call.duration_ms,
            "tool_name": ", ".join(call.tool_calls) or None,
        }
        for call in run.calls
    ]
    return {
        "conversation_id": run.run_id,
        "model_name": run.calls[0].model if run.calls else None,
        "steps_count": len(steps),
        "total_actual_tokens": run.total.total_tokens,
        "steps": steps,
    }


def token_usage_row(call: Call) -> dict[str, Any]:
    """A call as a row of the old table `token_usage`."""
    usage = call.usage
    return {
        "id": call.call_id,
        "session_id": call.session,
        "message_id": call.run_id,
        "timestamp": call.started_at.isoformat(),
        "chat_mode": call.mode,
        "model_name": call.model,
        "agent_name": call.agent,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "total_tokens": None if usage is None else usage.total_tokens,
        "cost_usd": None if call.cost_usd is None else format(call.cost_usd, "f"),
        "duration_ms": call.duration_ms,
        "tool_calls": list(call.tool_calls),
        "additional_info": {"step": call.chain, "status": call.status, **call.tags},
    }
