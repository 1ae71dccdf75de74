"""What is made of a fact before it is stored? Counts that nobody said are estimated, and the call is priced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from langchain_tokens.call import Call
from langchain_tokens.content import Content, sent_with
from langchain_tokens.estimate import Estimate, Estimator
from langchain_tokens.estimating.encoders import load_modules
from langchain_tokens.inputs import input_parts, prompt_mark
from langchain_tokens.recovery import Refine
from langchain_tokens.trouble import Warnings
from langchain_tokens.usage import TokenUsage

__all__ = ("Asked", "Refiner", "make_estimator")

Asked = tuple[tuple[Any, ...], Mapping[str, Any]]
"""A call's messages or prompts, and its parameters."""


class Refiner:
    """Estimates and prices calls. Thread-safe.

    Args:
        price: prices a call.
        estimator: estimates; None leaves unknown what nobody said.
        inspector: estimates what fills the inputs; None leaves that unknown.

    """

    def __init__(self, price: Refine, estimator: Estimator | None, inspector: Estimator | None = None) -> None:
        self._price = price
        self._estimator = estimator
        self._inspector = inspector

    @property
    def estimates(self) -> bool:
        """Whether counts that nobody said are estimated."""
        return self._estimator is not None

    @property
    def inspects(self) -> bool:
        """Whether it is found out what fills the inputs."""
        return self._inspector is not None

    def __call__(self, call: Call) -> Call:
        """Refine a call of which no more is left than its record, such as one read back from a journal."""
        return self._refined(call, None, None)

    def knowing(self, content: Content | None, asked: Asked | None = None) -> Callable[[Call], Call]:
        """The same for one call whose content is still at hand, or what it asked and with which parameters."""
        return lambda call: self._refined(call, content, asked)

    def _refined(self, call: Call, content: Content | None, asked: Asked | None) -> Call:
        if self._estimator is not None and call.estimate_basis is not None and call.usage_source != "estimated":
            call = _estimated(call, self._estimator, call.estimate_basis, content)
        if self._inspector is not None and asked is not None:
            call = _inspected(call, self._inspector, *asked)
        return self._price(call)


def make_estimator(warnings: Warnings) -> Estimator:
    """An estimator, with the tokenizer's modules loaded: a process that forks while another thread loads them would
    inherit held import locks. Its tables are loaded in the writer thread, when the first call needs them.
    """
    load_modules()
    return Estimator(warnings)


def _inspected(call: Call, estimator: Estimator, asked: tuple[Any, ...], parameters: Mapping[str, Any]) -> Call:
    """Fill in what fills the input, and the mark of the question."""
    model, total = call.model or call.requested_model, None if call.usage is None else call.usage.input_tokens
    parts = None
    if total is not None:
        parts = input_parts(estimator, sent_with(asked, parameters), model, call.provider, total)
    mark = prompt_mark(asked, parameters, call.requested_model, call.provider)
    return replace(call, input_parts=parts, prompt_mark=mark)


def _estimated(call: Call, estimator: Estimator, basis: Mapping[str, int], content: Content | None) -> Call:
    """Fill in what nobody said; what the provider did say stays."""
    usage, flags = call.usage or TokenUsage(), set(call.usage_flags)
    counts: dict[str, int] = {}
    for side, other in (("input", usage.output_tokens), ("output", usage.input_tokens)):
        if getattr(usage, f"{side}_tokens") is not None:
            continue
        found = _rest(usage.total_tokens, other) or _estimate(call, estimator, basis, content, side)
        if found is None:
            return call  # half an estimate would look like a whole one
        counts[f"{side}_tokens"] = found.tokens
        flags |= {f"estimated_{side}:{found.method}", *found.flags}
    given, answered = counts.get("input_tokens", usage.input_tokens), counts.get("output_tokens", usage.output_tokens)
    usage = replace(usage, input_tokens=given, output_tokens=answered, total_tokens=(given or 0) + (answered or 0))
    return replace(call, usage=usage, usage_source="estimated", usage_flags=tuple(sorted(flags)))


def _rest(total: int | None, part: int | None) -> Estimate | None:
    """What a total that was said leaves beside the part that was said."""
    if total is None or part is None or total < part:
        return None
    return Estimate(tokens=total - part, method="rest_of_total")


def _estimate(
    call: Call, estimator: Estimator, basis: Mapping[str, int], content: Content | None, side: str
) -> Estimate | None:
    model, provider = call.model or call.requested_model, call.provider
    given, answered = estimator.estimate_from_characters(basis.get("sent_characters"), basis.get("arrived_characters"))
    if side == "input":
        if content is not None and content.sent is not None:
            return estimator.estimate_input(content.sent, model, provider)
        return given
    if not basis.get("arrived_characters"):
        return Estimate(tokens=0, method="nothing_arrived")
    return answered if content is None else estimator.estimate_output(content.arrived, model, provider)
