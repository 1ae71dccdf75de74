"""How many tokens did a call have, where nobody says? An estimate of the request and of the answer, marked as one.

Used by the writer thread, never by a hook, but for the bounds of budgets that stop. Counts with tiktoken and the table
in `estimate_rules`. How far from true counts, by the median error of a recorded call, on the same recordings that the
table was made from:

- answers of 30 and more tokens: OpenAI 0 % (the visible text of its reasoning models 2 %); DeepSeek, Cohere, Qwen,
  Nova, Grok and Llama 1 to 3 %; Claude 3 to 6 %; Gemini 4 to 7 %; Mistral 8 %; gpt-oss 11 %. Short ones are off by 0
  to 5 tokens, which may be a large share.
- requests of text alone: OpenAI exact in most cases; others off by 0 to 5 tokens when short, and Claude, Gemini and
  Mistral by 5 to 16 % when long. Cohere's preamble of some 500 tokens is left out.
- requests with tools: 1 to 4 % for OpenAI's newer models, gpt-oss, Claude 4, DeepSeek, Grok and Llama 4, but 10 to 25 %
  for Claude 3, Gemini, Mistral and Qwen, whose servers differ. Tool calls in answers: off by some 10 tokens each.

What cannot be known is not invented, it is named by a flag:

- `reasoning_unseen`: reasoning is billed as output and was not, or not wholly, in what arrived; the true output is
  higher, for a reasoning model often several times.
- `image_assumed`: a picture's size or its provider's rule is not known; 1024 by 1024 pixels, or
  1,000 tokens, are taken.
- `content_not_counted`: audio, video or a file; nothing is counted for it.
- `sampled`: the text was above a million characters; part of it was counted, evenly taken.
- `not_counted:WHAT`: a part of a foreign form that cannot be read (`message`, `block`, `reasoning`, `tools`,
  `server_tool`, `tool_calls`, `text`).

Not seen at all: what a provider adds by itself (search results, hidden system messages beyond the table's), output
schemas, a conversation that the provider keeps, and of several answers to one request all but what is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_tokens.estimating.content import Draft, add_calls, add_messages, add_texts, add_tools, field_of, tried
from langchain_tokens.estimating.encoders import BY_CHARACTERS, Encoders, by_characters
from langchain_tokens.estimating.rules import Family, encoding_of, family_of
from langchain_tokens.trouble import Warnings

__all__ = ("Arrived", "Estimate", "Estimator", "Sent", "characters")

_MARGIN = 1.5
"""Of a bound over a count with the family's factor: the widest that recorded requests were off by, and a quarter."""
_AROUND_REQUEST, _AROUND_EACH, _AROUND_TOOLS = 100, 10, 400
"""Tokens that a bound adds, for a request, for each message of it, and once for tools: hidden messages among them."""
_HIDDEN: Mapping[str, int] = {"cohere": 1_500}
"""Family → tokens of a preamble that its servers put before requests."""
_MOST_ENCODED = 500_000
"""Bytes; whoever waits for the bound would wait long for more."""
_PICTURE = 5_000
"""Tokens of a picture of unknown size, or of a provider whose rule is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a request held: messages of one conversation, or prompts of a model of plain text."""

    messages: Sequence[Any] = ()
    """LangChain's messages, dicts with `role` and `content`, pairs of role and text, or texts."""
    prompts: Sequence[str] = ()
    tools: Sequence[Any] = ()
    """`tools` or `functions` of the invocation parameters: dicts in the provider's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What came back, whole or up to where the stream ended."""

    text: str = ""
    reasoning: str = ""
    tool_calls: Sequence[Any] = ()
    """Mappings with `name` and `args`, the latter a mapping or JSON; or a stream's pieces of such calls, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimated count."""

    tokens: int
    method: str
    """Such as `"o200k_base"`, `"o200k_base*1.15"` (with the family's factor) or `"characters/4"`."""
    flags: tuple[str, ...] = ()
    """What is left out or assumed, sorted; the module's docstring says what each means."""


class Estimator:
    """Estimates tokens; one for each writer thread or process, safe to share between threads.

    Never raises for what it is given, never changes it and never reaches the network.

    Args:
        warnings: Is told once of an encoder of tiktoken's that cannot be had.

    """

    def __init__(self, warnings: Warnings) -> None:
        self._encoders = Encoders(warnings)

    def estimate_input(self, sent: Sent, model: str | None, provider: str | None) -> Estimate:
        """Estimate the tokens of a request.

        Args:
            sent: What was sent.
            model: The model's name as requested or as answered, with or without a provider's prefix.
            provider: LangChain's name of the provider; used where the model's name tells no family.

        Returns:
            The estimate, cached tokens included, as providers count them.

        """
        return self._finished(_drafted(sent, family_of(model, provider), model))

    def estimate_pieces(self, pieces: Mapping[str, Sent], model: str | None, provider: str | None) -> dict[str, int]:
        """Estimate the tokens of pieces of one request, without what stands once around the whole of it.

        Args:
            pieces: What was sent, by whatever names tell the pieces apart.
            model: As for `estimate_input`; so `provider`.

        """
        family = replace(family_of(model, provider), per_request=0)
        return {name: self._finished(_drafted(piece, family, model)).tokens for name, piece in pieces.items()}

    def estimate_output(self, arrived: Arrived, model: str | None, provider: str | None) -> Estimate:
        """Estimate the tokens of an answer, or of the part of it that arrived.

        Args:
            arrived: What arrived; nothing at all is 0 tokens.
            model: The model's name as requested or as answered, with or without a provider's prefix.
            provider: LangChain's name of the provider; used where the model's name tells no family.

        Returns:
            The estimate, with the reasoning that was shown; a flag tells where more was billed than was shown.

        """
        family = family_of(model, provider)
        draft = Draft(family=family, model=model)
        tried(draft, "text", add_texts, [text for text in (arrived.text, arrived.reasoning) if text])
        tried(draft, "tool_calls", add_calls, arrived.tool_calls)
        if draft.texts:
            draft.extra += family.per_answer
        if family.reasoning == "hidden" or (family.reasoning == "summarised" and arrived.reasoning):
            draft.flags.add("reasoning_unseen")
        return self._finished(draft)

    def bound_input(self, sent: Sent, model: str | None, provider: str | None) -> int:
        """What a request has at most, as far as that can be told: no estimate, but what nobody is to exceed.

        A token is no less than a byte of text, whatever the tokenizer. Where an encoder is loaded, its count with a
        margin for other tokenizers is the bound, if that is less; nothing is loaded for it. What is flagged as not
        counted (audio, files) is taken by the bytes of its content.

        Args:
            sent: What is sent.
            model: The model's name as requested.
            provider: LangChain's name of the provider.

        """
        draft = Draft(family=family_of(model, provider), model=model)
        tried(draft, "message", add_messages, sent.messages)
        tried(draft, "text", add_texts, sent.prompts)
        if sent.tools:
            tried(draft, "tools", add_tools, sent.tools)
        around = draft.extra + _AROUND_REQUEST + _AROUND_EACH * (len(sent.messages) + len(sent.prompts))
        around += _AROUND_TOOLS if sent.tools else 0
        around += _HIDDEN.get(draft.family.name, 0)
        if "image_assumed" in draft.flags:
            around += _PICTURE * draft.blocks
        if draft.flags - {"image_assumed"}:
            return around + _bytes(sent.messages) + _bytes(sent.prompts) + _bytes(sent.tools)
        most = sum(len(text.encode("utf-8", "surrogatepass")) for text in draft.texts)
        if most > _MOST_ENCODED:
            return around + most
        try:
            counted = self._encoders.count_loaded(draft.texts, encoding_of(draft.family, model))
        except Exception:  # noqa: BLE001  # a foreign text may break an encoder, and its bytes are still known
            counted = None
        if counted is None or counted.sampled:
            return around + most
        return around + min(most, math.ceil(counted.tokens * draft.family.factor * _MARGIN))

    def load(self, model: str | None, provider: str | None) -> None:
        """Load the encoder that `bound_input` would have use of; takes a quarter of a second."""
        self._encoders.load(encoding_of(family_of(model, provider), model))

    @staticmethod
    def estimate_from_characters(
        input_characters: int | None, output_characters: int | None
    ) -> tuple[Estimate | None, Estimate | None]:
        """Estimate roughly from what a journal line says, where the texts themselves are gone.

        Args:
            input_characters: What `characters` said of the request; None if unknown.
            output_characters: What `characters` said of the answer; None if unknown.

        Returns:
            Estimates of input and output, a token for each four characters, each None where their number is.

        """
        return _from_length(input_characters), _from_length(output_characters)

    def _finished(self, draft: Draft) -> Estimate:
        encoding = encoding_of(draft.family, draft.model)
        factor = draft.family.factor
        try:
            counted = self._encoders.count(draft.texts, encoding)
        except Exception:  # noqa: BLE001  # a foreign text may break an encoder, and its length is still known
            draft.flags.add("not_counted:text")
            tokens, method = float(by_characters(draft.texts)), BY_CHARACTERS
        else:
            tokens, method = counted.tokens, counted.method
            if counted.sampled:
                draft.flags.add("sampled")
        if factor != 1 and method != BY_CHARACTERS:
            tokens, method = tokens * factor, f"{method}*{factor:g}"
        return Estimate(tokens=round(tokens) + draft.extra, method=method, flags=tuple(sorted(draft.flags)))


def _drafted(sent: Sent, family: Family, model: str | None) -> Draft:
    draft = Draft(family=family, model=model)
    tried(draft, "message", add_messages, sent.messages)
    tried(draft, "text", add_texts, sent.prompts)
    if sent.tools:
        tried(draft, "tools", add_tools, sent.tools)
    return draft


def characters(what: Sent | Arrived) -> int:
    """Count the characters of a request or an answer, cheaply and roughly, for a line of the journal.

    Looks at the lengths of texts, of messages' blocks, of reasoning and of tool calls that arrived. The tools that are
    offered, the calls in earlier messages and pictures are left out. What cannot be read counts nothing.
    """
    try:
        if isinstance(what, Arrived):
            return _length(what.text) + _length(what.reasoning) + sum(map(_length_of_call, what.tool_calls))
        return _length(what.prompts) + sum(map(_length_of_message, what.messages))
    except Exception:  # noqa: BLE001  # no sequence of anything; a call must not fail for its journal line
        return 0


def _bytes(content: Any) -> int:
    """The bytes of all that something holds, written out."""
    try:
        return len(repr(content).encode("utf-8", "surrogatepass"))
    except Exception:  # noqa: BLE001  # a foreign class may fail even here
        return 0


def _from_length(length: int | None) -> Estimate | None:
    return None if length is None else Estimate(tokens=-(-length // 4), method="characters")


def _length(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list | tuple):
        return 0
    texts = (block.get("text") if isinstance(block, dict) else block for block in content)
    return sum(len(text) for text in texts if isinstance(text, str))


def _length_of_message(message: Any) -> int:
    try:
        return _length(field_of(message, "content"))
    except Exception:  # noqa: BLE001  # as above
        return 0


def _length_of_call(call: Any) -> int:
    try:
        name, arguments = field_of(call, "name"), field_of(call, "args")
        return _length(name) + (_length(arguments) if isinstance(arguments, str) else len(repr(arguments or "")))
    except Exception:  # noqa: BLE001  # as above, but that there was a call is known
        return 1
