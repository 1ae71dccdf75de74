"""What fills a call's input, and was the same asked before? Counts and a digest; no text is kept.

Used by the writer thread, never by a hook. The parts are estimated with tiktoken, as `estimate` does, and scaled to the
count of the whole input, so that they add up to it exactly. What cannot be counted (audio, files, output schemas, what
a provider adds by itself) is spread over the parts that can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from langchain_tokens.estimate import Estimator, Sent
from langchain_tokens.estimating.content import field_of

__all__ = ("PARTS", "apportioned", "input_parts", "prompt_mark")

PARTS: Final = ("system", "tools", "history", "tool_results", "human", "other")
"""System prompt, definitions of tools, earlier turns of people and models, results of tools, the last human message,
and what is no text: pictures.
"""
_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "tool": "tool_results",
    "function": "tool_results",
    "human": "human",
    "user": "human",
}
"""A message's type or role → its part; all others are history."""
_RESULT_BLOCKS: Final = frozenset({"tool_result", "toolResult", "function_call_output", "functionResponse"})
_PICTURE_BLOCKS: Final = frozenset({"image", "image_url", "input_image", "media", "inlineData", "inline_data"})
_OF_TRANSPORT: Final = frozenset({"stream", "stream_options"})
"""Parameters that change how an answer comes, not which."""
_WRITTEN: Final = ("content", "name", "tool_calls", "invalid_tool_calls", "tool_call_id", "additional_kwargs")
"""What of a message is in the mark, beside its role."""
_DIGEST_BYTES: Final = 16
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def input_parts(
    estimator: Estimator, sent: Sent, model: str | None, provider: str | None, total: int
) -> dict[str, int]:
    """Apportion a call's input tokens; an estimate.

    Args:
        estimator: counts.
        sent: what was sent.
        model: the model's name, and `provider` LangChain's name of the provider.
        total: the input tokens, as the provider counted them.

    Returns:
        Tokens by part, of those parts that have any; they add up to `total`.

    """
    content: dict[str, list[Any]] = {part: [] for part in PARTS}
    human = [place for place, message in enumerate(sent.messages) if _part_of(message) == "human"]
    for place, message in enumerate(sent.messages):
        _sort_in(content, "history" if place in human[:-1] else _part_of(message), message)
    pieces = {part: Sent(messages=messages) for part, messages in content.items() if messages}
    if sent.prompts:
        pieces["human"] = Sent(prompts=sent.prompts)
    if sent.tools:
        pieces["tools"] = Sent(tools=sent.tools)
    if len(pieces) == 1:
        return apportioned(dict.fromkeys(pieces, 1), total)
    weights = estimator.estimate_pieces(pieces, model, provider)
    return apportioned({part: weights.get(part, 0) for part in PARTS}, total)


def apportioned(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """Split a number in whole parts by weights: rounded down, then one more for those that lost most.

    Returns:
        The parts that are not zero; they add up to `total`. Without any weight all is `other`.

    """
    whole = sum(weights.values())
    if not whole:
        return {"other": total} if total else {}
    parts = {name: total * weight // whole for name, weight in weights.items()}
    by_loss = sorted(weights, key=lambda name: total * weights[name] % whole, reverse=True)
    for name in by_loss[: total - sum(parts.values())]:
        parts[name] += 1
    return {name: part for name, part in parts.items() if part}


def prompt_mark(
    asked: Sequence[Any], parameters: Mapping[str, Any], model: str | None, provider: str | None
) -> str | None:
    """A digest (BLAKE2b, 128 bits, hexadecimal) of all that decides an answer: messages or prompts, tools, the model
    and its parameters; equal for equal questions. None where something of a foreign form cannot be written down.

    Left out are the ids of messages, which are new each time, and whether the answer is streamed.
    """
    settings = {key: value for key, value in parameters.items() if key not in _OF_TRANSPORT}
    question = [model, provider, settings, [_written(message) for message in asked]]
    try:
        text = orjson.dumps(question, default=_stand_in, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):  # lone surrogates, circles
        return None
    return blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def _written(message: Any) -> Any:
    if isinstance(message, str | Mapping | tuple | list):
        return message
    return [_role(message), *(getattr(message, name, None) for name in _WRITTEN)]


def _stand_in(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return f"{type(value).__name__} {value!r}"  # of an object that writes its address no two are alike: never wrong


def _role(message: Any) -> Any:
    if isinstance(message, tuple):
        return message[0] if message else None
    if isinstance(message, str):
        return "human"
    kind = field_of(message, "type")
    return field_of(message, "role") if kind in (None, "chat") else kind


def _part_of(message: Any) -> str:
    role = _role(message)
    return _ROLES.get(role, "history") if isinstance(role, str) else "history"


def _sort_in(content: dict[str, list[Any]], part: str, message: Any) -> None:
    """Put a message in its part; pictures and results of tools in it are put in theirs."""
    held = field_of(message, "content")
    if not isinstance(held, list | tuple) or isinstance(message, tuple):
        content[part].append(message)
        return
    blocks: dict[str, list[Any]] = {part: []}
    for block in held:
        blocks.setdefault(_part_of_block(block) or part, []).append(block)
    own = {"content": blocks.pop(part), **{name: field_of(message, name) for name in ("name", "tool_calls")}}
    content[part].append(own)
    for name, some in blocks.items():
        content[name].append({"content": some})


def _part_of_block(block: Any) -> str | None:
    if not isinstance(block, Mapping):
        return None
    kind = block.get("type")
    kinds = {kind} if isinstance(kind, str) else {key for key in block if isinstance(key, str)}
    if kinds & _PICTURE_BLOCKS:
        return "other"
    return "tool_results" if kinds & _RESULT_BLOCKS else None
