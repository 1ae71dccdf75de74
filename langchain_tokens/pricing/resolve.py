"""Which provider and which model does a name mean? Names as LangChain gives them → names as price lists have them.

A provider of no known name is never guessed from its looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

__all__ = ("HOSTS", "PROVIDERS", "UNPRICEABLE", "Names", "candidates", "canonical", "tier_context")

PROVIDERS: Final[Mapping[str, str]] = {
    "openai": "openai",
    "azure": "azure",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "anthropic-bedrock": "aws",
    "anthropic-mantle": "aws",
    "amazon_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "openai-mantle": "aws",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistral": "mistral",
    "mistralai": "mistral",
    "xai": "x-ai",
    "groq": "groq",
    "deepseek": "deepseek",
    "perplexity": "perplexity",
    "cohere": "cohere",
    "fireworks": "fireworks",
    "openrouter": "openrouter",
    "together": "together",
    "cerebras": "cerebras",
    "moonshot": "moonshotai",
}
"""LangChain's name of a provider → the catalogue's."""
HOSTS: Final[Mapping[str, str]] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "api.x.ai": "x-ai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "api.fireworks.ai": "fireworks",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together",
    "api.cerebras.ai": "cerebras",
    "api.moonshot.ai": "moonshotai",
    "openai.azure.com": "azure",
    "text.pollinations.ai": "pollinations",
}
"""Host of a base URL, or the end of it → the catalogue's name of the provider."""
UNPRICEABLE: Final = frozenset({"openai-codex"})
"""Subscriptions: their calls have no price of their own, whatever the model is called."""
_ROUTERS: Final = frozenset({"litellm"})
"""Clients for many providers, which name the provider in front of the model."""
_PREFIXES: Final = (re.compile(r"models/"), re.compile(r"publishers/[^/]+/models/"))
_STANDARD: Final = frozenset({"", "auto", "default", "on_demand", "standard"})
_REVISION: Final = re.compile(r"-00\d$")

Names = tuple[str | None, str]
"""The catalogue's name of a provider, or None where no provider was said, and a model's name."""


def canonical(provider: str | None, hosts: Mapping[str, str] | None = None) -> str | None:
    """The catalogue's name of a provider; a name that is not in the map comes back as it is, in lower case.

    Args:
        provider: LangChain's name, or the host or base URL of an endpoint.
        hosts: the user's own hosts, which come before `HOSTS`.

    """
    if provider is None:
        return None
    name = provider.strip().lower()
    known = PROVIDERS.get(name)
    if known is not None or ("." not in name and ":" not in name):
        return known or name
    host = urlsplit(name if "//" in name else f"//{name}").hostname or name
    for table in (hosts or {}, HOSTS):
        for end, owner in table.items():
            if host == end or host.endswith(f".{end}"):
                return PROVIDERS.get(owner, owner)
    return name


def candidates(
    provider: str | None, model: str, aliases: Mapping[str, str], hosts: Mapping[str, str] | None = None
) -> Iterator[Names]:
    """What one model's name can be called in a price list, the most literal first.

    Args:
        provider: as LangChain says it; None where nobody said one.
        model: as the response or the request says it.
        aliases: the user's names (of Azure deployments, Bedrock profiles), in lower case → names of models. One that
            is there stands for its target, and for nothing else.
        hosts: the user's own hosts.

    """
    owner = canonical(provider, hosts)
    name = aliases.get(model.strip().lower(), model).strip()
    if owner in _ROUTERS and "/" in name:
        prefix, name = name.split("/", 1)
        owner = canonical(prefix)
    seen = dict.fromkeys((name, *_shorter(owner, name)))
    yield from ((owner, each) for each in seen if each)


def tier_context(tier: str | None) -> dict[str, str]:
    """What a service tier asks of a price; nothing for the usual one. A batch is not a tier where prices are listed."""
    name = "" if tier is None else tier.strip().lower()
    if name in _STANDARD:
        return {}
    return {"processing": "batch"} if name == "batch" else {"service_tier": name}


def _shorter(owner: str | None, name: str) -> Iterator[str]:
    bare = name
    for prefix in _PREFIXES:
        found = prefix.match(bare)
        bare = bare[found.end() :] if found else bare
    first, slash, rest = bare.partition("/")
    if slash and owner is not None and canonical(first) == owner:
        bare = rest
    yield bare
    yield _REVISION.sub("", bare)
