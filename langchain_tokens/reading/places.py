"""Where does usage stand in a response, and what stands beside it? Ways through bodies, and rows for the rest."""

from __future__ import annotations

from typing import Final

from langchain_tokens.reading.formats import ROUTER_COST
from langchain_tokens.reading.rows import Shape

__all__ = ("BESIDE", "BILLED_ONLY", "METADATA", "PLACES")

BESIDE: Final = Shape(
    name="beside",
    any_of=frozenset({"tool_usage", "usage_breakdown"}),
    says={},
    units={
        "tool_usage.web_search": {"num_requests": "web_search_requests"},
        "tool_usage.image_gen": {
            "input_tokens": "image_model_input_tokens",
            "output_tokens": "image_model_output_tokens",
        },
    },
    units_of_another_model=("image_model_input_tokens", "image_model_output_tokens"),
    breakdown=("usage_breakdown", "models"),
)
"""What a response body says beside its usage."""

METADATA: Final = Shape(
    name="metadata",
    any_of=frozenset({*BESIDE.any_of, "cost", "num_search_queries", "search_context_size"}),
    says={},
    units={**BESIDE.units, "": {"num_search_queries": "num_search_queries"}},
    units_of_another_model=BESIDE.units_of_another_model,
    words={"search_context_size": "requests_with_search_context_"},
    breakdown=BESIDE.breakdown,
    costs=(ROUTER_COST,),
)
"""What LangChain keeps of it in a message's metadata."""

BILLED_ONLY: Final = Shape(
    name="cohere_billed",
    any_of=frozenset({"total_tokens"}),
    says={},
    units={"": {"input_tokens": "billed_input_tokens", "output_tokens": "billed_output_tokens"}},
)
"""Cohere's client gives the billed units of a stream as its tokens. A total, which its tokens never have, tells."""

PLACES: Final[tuple[tuple[str, ...], ...]] = (
    ("usage",),
    ("usage_metadata",),
    ("usageMetadata",),
    ("token_usage",),
    ("response", "usage"),
    ("message", "usage"),
    ("delta", "usage"),
    ("metadata", "usage"),
    ("interaction", "usage"),
    ("x_groq", "usage"),
    ("response", "usageMetadata"),
    ("meta",),
    ("response", "meta"),
    ("details",),
    ("results",),
    ("amazon-bedrock-invocationMetrics",),
)
"""Where a usage object stands in a response body, or in an event of a stream; the first that holds one is read."""
