"""How does each provider say it? The table of shapes, one row each.

A row states where a shape keeps each count and what contains what. To add a provider is to add a row.
"""

from __future__ import annotations

from typing import Final

from langchain_tokens.reading.ownwords import OWN
from langchain_tokens.reading.rows import Cost, Keys, Outside, Shape

__all__ = ("KNOWN", "LANGCHAIN", "ROUTER_COST", "SHAPES", "row")

_LANGCHAIN_DETAILS: Final[Keys] = {
    "input_token_details": {
        "cache_read": "cache_read_tokens",
        "cache_creation": "cache_write_tokens",
        "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
        "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
        "audio": "audio_input_tokens",
    },
    "output_token_details": {"reasoning": "reasoning_tokens", "audio": "audio_output_tokens"},
}
_TIERS: Final = ("flex", "priority")
_PLAIN: Final = {name: name for name in ("input_tokens", "output_tokens", "total_tokens")}
# Deep research counts its reasoning, and the citations it read, beside the completion and leaves both out of the total.
_DEEP_RESEARCH: Final = Outside(
    total="output_tokens", details=("reasoning_tokens",), flag="reasoning_outside_output", mark=("", "citation_tokens")
)
# OpenRouter's price holds its own fee only, where the call was paid for with a key of the user's own.
ROUTER_COST: Final = Cost(
    way=("cost",), upstream=("cost_details", "upstream_inference_cost"), is_upstream_extra="is_byok"
)
_COSTS: Final = (
    ROUTER_COST,
    Cost(way=("cost", "total_cost"), currency=("cost", "currency")),
    # A host that bills by itself leaves the ticks at 0: that is no price.
    Cost(way=("cost_in_usd_ticks",), per_usd=10_000_000_000, is_zero_unsaid=True),
)
_SERVER_TOOLS: Final[dict[str, dict[str, str] | None]] = {
    "server_tool_use_details": None,
    "server_side_tool_usage_details": None,
}
LANGCHAIN: Final = Shape(
    name="langchain",
    any_of=frozenset(_LANGCHAIN_DETAILS),
    says={"": _PLAIN, **_LANGCHAIN_DETAILS},
    # Under a tier the details carry its name (`flex_cache_read`). The bare key `flex` beside them is what the total
    # leaves without the details: it marks the tier and is not a count of its own.
    adds={
        section: {f"{tier}_{key}": name for tier in _TIERS for key, name in keys.items()}
        for section, keys in _LANGCHAIN_DETAILS.items()
    },
    outside=(
        Outside(
            total="output_tokens",
            details=("reasoning_tokens",),
            flag="reasoning_outside_output",
            mark=("output_token_details", "citation_tokens"),
        ),
    ),
    units={"output_token_details": {"citation_tokens": "citation_tokens"}},
    is_split_instead_of_write=True,
    zero_input_if_empty="input_token_details",
    tier_marks={"input_token_details": _TIERS},
    frames="sum",
)

# The first row that matches wins, so a row with marks of its own stands above the rows it could be taken for.
SHAPES: Final[tuple[Shape, ...]] = (
    Shape(
        name="openai_chat",
        any_of=frozenset({"prompt_tokens", "completion_tokens"}),
        says={
            "": {
                "prompt_tokens": "input_tokens",
                "completion_tokens": "output_tokens",
                "total_tokens": "total_tokens",
                "cached_tokens": "cache_read_tokens",
                "num_cached_tokens": "cache_read_tokens",
                "prompt_cache_hit_tokens": "cache_read_tokens",
                "reasoning_tokens": "reasoning_tokens",
            },
            "prompt_tokens_details": {
                "cached_tokens": "cache_read_tokens",
                "cache_write_tokens": "cache_write_tokens",
                "audio_tokens": "audio_input_tokens",
            },
            "completion_tokens_details": {
                "reasoning_tokens": "reasoning_tokens",
                "audio_tokens": "audio_output_tokens",
            },
        },
        outside=(_DEEP_RESEARCH,),
        units={
            "": {
                name: name
                for name in ("citation_tokens", "num_search_queries", "num_sources_used", "prompt_audio_seconds")
            },
            "completion_tokens_details": {"image_tokens": "image_output_tokens"},
            **_SERVER_TOOLS,
        },
        words={"search_context_size": "requests_with_search_context_"},
        costs=_COSTS,
    ),
    LANGCHAIN,
    Shape(
        name="anthropic",
        any_of=frozenset(
            {
                "cache_creation",
                "cache_creation_input_tokens",
                "cache_read_input_tokens",
                "inference_geo",
                "iterations",
                "server_tool_use",
            }
        ),
        says={
            "": {
                **_PLAIN,
                "cache_read_input_tokens": "cache_read_tokens",
                "cache_creation_input_tokens": "cache_write_tokens",
            },
            "cache_creation": {
                "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
                "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
            },
            "output_tokens_details": {"thinking_tokens": "reasoning_tokens"},
        },
        outside=(Outside(total="input_tokens", details=("cache_read_tokens", "cache_write_tokens")),),
        units={"server_tool_use": None},
        rounds="iterations",
        frames="update",
    ),
    Shape(
        name="openai_responses",
        any_of=frozenset({"input_tokens_details", "output_tokens_details"}),
        says={
            "": _PLAIN,
            "input_tokens_details": {
                "cached_tokens": "cache_read_tokens",
                "cache_write_tokens": "cache_write_tokens",
                "audio_tokens": "audio_input_tokens",
            },
            "output_tokens_details": {"reasoning_tokens": "reasoning_tokens", "audio_tokens": "audio_output_tokens"},
        },
        units={
            "": {name: name for name in ("num_sources_used", "num_server_side_tools_used")},
            "output_tokens_details": {"image_tokens": "image_output_tokens"},
            **_SERVER_TOOLS,
        },
        costs=_COSTS,
    ),
    *OWN,
    # A bare pair says the same thing in every format: no cache is named whose place could be in doubt.
    Shape(
        name="input_output",
        any_of=frozenset({"input_tokens", "output_tokens"}),
        says={"": {**_PLAIN, "reasoning_tokens": "reasoning_tokens"}},
        costs=_COSTS,
        frames="update",
    ),
)
"""The table. A new provider is a new row."""

KNOWN: Final[tuple[str, ...]] = tuple(shape.name for shape in SHAPES)
"""The names of all shapes that can be read."""
_MARKS: Final = frozenset().union(*(shape.any_of for shape in SHAPES))


def row(payload: object) -> Shape | None:
    """Find the first row of the table that a payload matches."""
    if _MARKS.isdisjoint(payload):  # type: ignore[arg-type]  # a mapping, whose keys are looked through
        return None
    for shape in SHAPES:
        if not shape.any_of.isdisjoint(payload):  # type: ignore[arg-type]  # a mapping, whose keys are looked through
            return shape
    return None
