"""How does a model count, where tiktoken does not know its tokenizer? One row for each family of models.

Factors and overheads were measured on recorded answers whose providers said the true counts: the factor on answers of
30 and more tokens of o200k_base, without tool calls and hidden reasoning (median, and range of the middle half; where
the ratio of the sums differs, the row takes a value between), what stands around an answer on the short ones, around a
request on requests of text alone, tools on requests with one or two small ones. `n=15/61` is 15 long answers of 61
different ones; then follow the requests of text alone. A row without `n` was not measured, and its numbers are what its
comment says. Few of these samples are large: they tell families apart, not versions.

Overheads of OpenAI's chat models are also those of its cookbook "How to count tokens with tiktoken": 3 tokens and the
role for each message, 3 for the start of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from langchain_tokens.estimating.encoders import openai_encoding
from langchain_tokens.estimating.images import ImageRule, area, flat, openai_rule, squares

__all__ = ("FAMILIES", "Family", "as_json", "definitions", "encoding_of", "family_of", "images_of", "tool_text")

_O200K: Final = "o200k_base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How the models of one family turn text into tokens, and what they add to it. All counts are tokens."""

    name: str
    models: str
    """A pattern that is found in the model's name, without the provider's prefix, in small letters."""
    providers: tuple[str, ...] = ()
    """LangChain's names of providers whose models are of this family, unless a name says otherwise."""
    encoding: str | None = _O200K
    """tiktoken's encoding; None where tiktoken knows which."""
    factor: float = 1.0
    """True tokens for each token of that encoding."""
    per_request: int = 3
    per_message: int = 4
    per_answer: int = 0
    per_call: int = 8
    """Around each tool call, its name and arguments left out."""
    tools: Literal["json", "typescript"] = "json"
    """What the definitions of tools become in the prompt."""
    with_tools: int = 0
    """Once, if there are tools."""
    images: ImageRule | None = None
    """None where no rule is known; OpenAI's differ by model."""
    reasoning: Literal["shown", "summarised", "hidden"] = "shown"
    """Whether a reader of the answer sees the reasoning that is billed."""


_CLAUDE_IMAGES: Final = area(1_568, 1_600)

# fmt: off
FAMILIES: Final = (
    # its own encoding, so 1.0; measured 0.87 with 9 around an answer, n=4/15, 11 requests with a hidden message of 63
    Family(name="gpt-oss", models=r"gpt-oss", encoding="o200k_harmony", per_request=63, per_answer=9, per_call=20,
           tools="typescript", with_tools=24),
    # 1.000 (0.98 to 1.02), n=15/61, 28 requests
    Family(name="openai-reasoning", models=r"^(o[1-9]\b|gpt-([5-9]|\d\d)|codex)", encoding=None, per_request=2,
           per_answer=6, per_call=5, tools="typescript", with_tools=8, reasoning="hidden"),
    # 1.000 (1.00 to 1.03), n=27/67, 29 requests
    Family(name="openai", models=r"^(chatgpt|gpt-?\d|text-|davinci|babbage|curie|ada\b|code-|computer-use)",
           providers=("openai", "azure", "azure_openai", "openai-codex"), encoding=None, tools="typescript",
           with_tools=8),
    # 1.37, n=1/7; Anthropic states 1.0 to 1.35 times the older tokenizer, others measured up to 1.46 times
    Family(name="claude-4.7", models=r"claude-((opus-)?4[-.][7-9]|[a-z]+-([5-9]|\d\d))", factor=1.4, per_request=5,
           per_message=2, per_answer=4, per_call=40, with_tools=380, images=area(2_576, 4_784),
           reasoning="summarised"),
    # 1.126 (1.06 to 1.17), sums 1.17, 1.12 to 1.25 on long requests, n=34/63 and 26 requests with the row below
    Family(name="claude-3", models=r"claude-?(3|2|v\d|instant)", factor=1.15, per_request=5, per_message=2,
           per_answer=3, per_call=42, with_tools=200, images=_CLAUDE_IMAGES),
    Family(name="claude", models=r"claude", providers=("anthropic", "anthropic-chat"), factor=1.15, per_request=5,
           per_message=2, per_answer=3, per_call=42, with_tools=505, images=_CLAUDE_IMAGES, reasoning="summarised"),
    # 1.022 (1.00 to 1.09), sums 1.07, n=17/49, 14 requests; Gemini 3 states 1,120 tokens for a picture by default
    Family(name="gemini-3", models=r"gemini-([3-9]|\d\d)", factor=1.03, per_request=0, per_message=0, per_call=5,
           tools="typescript", images=flat(1_120), reasoning="hidden"),
    Family(name="gemini", models=r"gemini", providers=("google_genai", "google_vertexai"), factor=1.03,
           per_request=0, per_message=0, per_call=5, tools="typescript", images=squares(258), reasoning="hidden"),
    # 1.24, n=1/1
    Family(name="gemma", models=r"gemma", factor=1.2),
    # not measured but for the tools, n=6; their preamble is most of such a request. The rest is that of the row below
    Family(name="llama-4", models=r"llama-?4", factor=1.05, per_answer=1, per_call=22, with_tools=630),
    # 1.048 (1.03 to 1.16), n=5/20 with the row above, 10 requests; from 3.1 on its template adds 25
    Family(name="llama", models=r"llama", factor=1.05, per_request=30, per_message=5, per_answer=1, per_call=16,
           with_tools=100),
    # 1.022 (1.01 to 1.03), n=11/22, 11 requests
    Family(name="deepseek", models=r"deepseek", providers=("deepseek",), factor=1.02, per_message=1, per_answer=1,
           per_call=30, with_tools=235),
    # 1.002 (0.99 to 1.02), n=8/12, 9 requests; tools added 68 to 237 by server, median taken
    Family(name="qwen", models=r"qwen|qwq", per_message=6, per_answer=2, per_call=19, with_tools=150),
    # 0.963 (0.96 to 1.00), n=7/16, 4 requests, 8 with tools; grok-4.3 has a hidden system message
    Family(name="grok-4.3", models=r"grok-4\.[2-9]", factor=0.97, per_request=190, per_message=3, per_call=4,
           with_tools=42, reasoning="hidden"),
    Family(name="grok", models=r"grok", providers=("xai",), factor=0.97, per_request=0, per_message=3, per_call=18,
           with_tools=150, reasoning="hidden"),
    # 1.144 (1.06 to 1.24), sums 1.11, n=10/11, 5 requests
    Family(name="mistral", models=r"[sx]tral(?!i)", providers=("mistralai", "mistral"), factor=1.13, per_request=5,
           per_message=5, per_call=4, with_tools=15),
    # 1.014 (1.00 to 1.04), n=9/17, 9 requests; a hidden preamble of 62 to 1,386 tokens is not billed, nor counted
    Family(name="cohere", models=r"command|\baya\b|c4ai", providers=("cohere",), factor=1.02, per_answer=2,
           per_call=28),
    # 1.017 (1.00 to 1.04), n=8/9, 2 requests, 4 with tools
    Family(name="nova-2", models=r"nova-2", factor=1.02, per_request=95, per_message=1, per_call=11, with_tools=760),
    Family(name="nova", models=r"nova-", factor=1.02, per_request=0, per_message=0, per_call=11, with_tools=350),
    # 1.034, n=3/9 (one of them 2.0, with reasoning unseen), 4 requests, 1 with a tool
    Family(name="glm", models=r"\bglm", factor=1.03, per_request=2, per_answer=2, per_call=4, with_tools=115),
    # 1.042, n=2/8
    Family(name="titan", models=r"titan", factor=1.04, per_request=0, per_message=0),
    # 0.992 (0.98 to 1.00), n=3/8, 7 requests
    Family(name="sonar", models=r"sonar", providers=("perplexity",), factor=0.99, per_request=1, per_message=0),
)
# fmt: on
"""The first row that matches holds."""

_UNKNOWN: Final = Family(name="unknown", models=r"")  # not measured: taken as it is, with the cookbook's overheads
_DISTILLED: Final = re.compile(r"distill-(llama|qwen)")  # has the tokenizer of the model it was put into
_DEEPEST: Final = 8


def family_of(model: str | None, provider: str | None) -> Family:
    """Find the family of a model, by its name first and by its provider where that says nothing."""
    name = _bare(model)
    distilled = _DISTILLED.search(name)
    name = name if distilled is None else distilled[1]
    for family in FAMILIES:
        if name and re.search(family.models, name):
            return family
    maker = (provider or "").lower()
    return next((family for family in FAMILIES if maker in family.providers), _UNKNOWN)


def encoding_of(family: Family, model: str | None) -> str:
    """Name the encoding that a model's tokens are counted with."""
    return openai_encoding(_bare(model)) if family.encoding is None else family.encoding


def images_of(family: Family, model: str | None) -> ImageRule | None:
    """Find the rule for pictures."""
    return openai_rule(_bare(model)) if family.encoding is None else family.images


def _bare(model: str | None) -> str:
    """A model's name without `models/`, `openai/`, `openai.` and the name of a fine tuning."""
    name = (model or "").strip().lower().rsplit("/", 1)[-1]
    name = name.split(":", 2)[1] if name.startswith("ft:") else name
    return re.sub(r"^openai[.-]", "", name)


def definitions(tool: Mapping[Any, Any]) -> Iterator[Mapping[Any, Any]]:
    """Find the functions that one entry of a request's tools defines, in any provider's form.

    Args:
        tool: Such as OpenAI's `{"type": "function", "function": {...}}`, Anthropic's `{"name", "input_schema"}`,
            Bedrock's `{"toolSpec": {...}}` or Gemini's `{"function_declarations": [...]}`.

    Returns:
        Each function with `name`, `description` and `parameters`; none for a tool of the provider's own.

    """
    declared = tool.get("functionDeclarations", tool.get("function_declarations"))
    inner = tool.get("function", tool.get("toolSpec", tool))
    for function in declared if isinstance(declared, list | tuple) else (inner,):
        if not isinstance(function, Mapping) or "name" not in function:
            continue
        schema = next((function[key] for key in _SCHEMAS if key in function), None)
        if schema is None and "type" in function:
            continue  # such as {"type": "web_search_20250305", "name": "web_search"}: what it adds is not known
        held = schema.get("json", schema) if isinstance(schema, Mapping) else {}
        yield {"name": function["name"], "description": function.get("description") or "", "parameters": held}


_SCHEMAS: Final = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema")


def tool_text(family: Family, functions: Sequence[Mapping[Any, Any]]) -> str:
    """Write definitions of tools as they enter the prompt: as JSON, or as OpenAI's models are known to see them.

    OpenAI's form is the one that its open models' template shows, a TypeScript namespace.
    """
    if family.tools == "json":
        return as_json(functions)
    types = "".join(
        f"// {function['description']}\ntype {function['name']} = (_: {_object(function['parameters'], 0)}) => any;\n\n"
        for function in functions
    )
    return f"namespace functions {{\n\n{types}}} // namespace functions"


def as_json(value: Any) -> str:
    """Write a value as short JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _object(schema: Mapping[Any, Any], depth: int) -> str:
    fields = schema.get("properties")
    if not isinstance(fields, Mapping) or not fields:
        return "{}"
    required = schema.get("required") or ()
    return "{\n" + "".join(_field(str(name), held, name in required, depth) for name, held in fields.items()) + "}"


def _field(name: str, schema: Any, is_required: bool, depth: int) -> str:
    if not isinstance(schema, Mapping):
        return f"{name}: any,\n"
    comment = f"// {schema['description']}\n" if schema.get("description") else ""
    default = f" // default: {schema['default']}" if "default" in schema else ""
    return f"{comment}{name}{'' if is_required else '?'}: {_type(schema, depth + 1)},{default}\n"


def _type(schema: Any, depth: int) -> str:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return "any"
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list | tuple):
            return " | ".join(_type(entry, depth + 1) for entry in schema[key])
    if isinstance(schema.get("enum"), list | tuple):
        return " | ".join(f'"{entry}"' for entry in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"{_type(schema.get('items'), depth + 1)}[]"
    return _object(schema, depth) if "properties" in schema else str(kind or "any")
