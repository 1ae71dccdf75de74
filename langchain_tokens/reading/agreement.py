"""Do the counts agree with each other? Derives what they prove, and names each contradiction; no count is clamped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from langchain_tokens.reading.drafts import Draft
from langchain_tokens.usage import COUNTS, TokenUsage

__all__ = ("check", "contradictions", "derive")

_SPLIT: Final = ("cache_write_5m_tokens", "cache_write_1h_tokens")
_CACHE: Final = ("cache_read_tokens", "cache_write_tokens")
_DETAILS: Final = (
    ("input_tokens", "cache_read_tokens"),
    ("input_tokens", "cache_write_tokens"),
    ("input_tokens", "audio_input_tokens"),
    ("output_tokens", "reasoning_tokens"),
    ("output_tokens", "audio_output_tokens"),
)
# A total that exceeds input and output by exactly one of these was counted with it, and they were not: the flag of the
# correction, what it is added to, and what is added. Two that fit prove nothing.
_PROVEN_BY_TOTAL: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("reasoning_outside_output", "output_tokens", ("reasoning_tokens",)),
    ("audio_outside_input", "input_tokens", ("audio_input_tokens",)),
    ("audio_outside_output", "output_tokens", ("audio_output_tokens",)),
    ("cache_added_to_input", "input_tokens", _CACHE),
)


def derive(draft: Draft) -> None:
    """Take from the numbers what they prove: a total, an output of 0, a detail that only the total contains."""
    counts = draft.counts
    given, answered, total = counts.get("input_tokens"), counts.get("output_tokens"), counts.get("total_tokens")
    if given is None:
        return
    if answered is None:
        if total == given and "nonsense:output_tokens" not in draft.flags:
            counts["output_tokens"] = 0  # an embedding, or a prompt that was refused
    elif total is None:
        draft.put_sum("total_tokens", (given, answered))
    elif total > given + answered:
        _correct(draft, total - given - answered)


def _correct(draft: Draft, gap: int) -> None:
    counts = draft.counts
    fits = [
        (flag, name)
        for flag, name, details in _PROVEN_BY_TOTAL
        if sum(counts.get(detail, 0) for detail in details) == gap
    ]
    if len(fits) == 1:
        flag, name = fits[0]
        counts[name] += gap
        draft.flags.add(flag)


def contradictions(usage: TokenUsage) -> set[str]:
    """Name each contradiction between counts that were said one by one, in no provider's shape."""
    flags: set[str] = set()
    check({name: count for name in COUNTS if (count := getattr(usage, name)) is not None}, flags)
    return flags


def check(counts: Mapping[str, int], flags: set[str]) -> None:
    """Name each contradiction between the counts; none of them is changed."""
    for total, name in _DETAILS:
        said = counts.get(name)
        if said and said > counts.get(total, said):
            flags.add(f"detail_above_total:{name}")
    written = counts.get("cache_write_tokens")
    if written is not None and sum([counts.get(name, 0) for name in _SPLIT]) > written:
        flags.update(f"detail_above_total:{name}" for name in _SPLIT if counts.get(name))
    said_input, said_output, total_said = (
        counts.get("input_tokens"),
        counts.get("output_tokens"),
        counts.get("total_tokens"),
    )
    if said_input is None or said_output is None:
        return
    if counts.get("cache_read_tokens", 0) + counts.get("cache_write_tokens", 0) > said_input:
        flags.add("cache_outside_input")
    if total_said is not None and total_said != said_input + said_output:
        flags.add("total_mismatch")
