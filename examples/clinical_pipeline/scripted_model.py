"""Who answers when there is no key and no network? Scripts that read the real notes, and differ as models do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.messages import BaseMessage

from examples.clinical_pipeline.components import EXTRACT, EXTRACTOR, MAPPER
from examples.scripted import Ledger, LedgerModel

__all__ = ("CAST", "Player", "answer", "scripted_model", "step_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """A model that is stood in for, and what it is not good at."""

    model: str
    provider: str
    overlooks: frozenset[str] = frozenset()
    """Types of entities that it does not find."""
    cannot_map: frozenset[str] = frozenset()
    """Types of entities that it finds no profile for."""


CAST = (
    Player(model="gpt-4o", provider="openai"),
    Player(model="gpt-4o-mini", provider="openai", overlooks=frozenset({"marker"})),
    Player(model="deepseek-v4-flash", provider="deepseek", cannot_map=frozenset({"stage"})),
)
_TERMS: Mapping[str, Sequence[str]] = {
    "condition": (
        *("invasive breast cancer", "breast cancer", "prostate cancer", "colon cancer", "lung cancer", "melanoma"),
        *("ovarian cancer", "gastric cancer"),
    ),
    "stage": ("stage IV", "stage III", "stage II", "stage I"),
    "marker": (
        *("HER2 positive", "Gleason score 8", "KRAS mutation", "EGFR mutation", "BRAF mutation", "BRCA1 mutation"),
        "estrogen receptor positive",
    ),
    "medication": ("trastuzumab", "leuprolide", "FOLFOX", "osimertinib", "tamoxifen", "olaparib"),
    "procedure": ("lumpectomy", "hemicolectomy", "wide excision", "debulking surgery", "gastrectomy"),
}
_PROFILES = {
    "condition": "PrimaryCancerCondition",
    "stage": "CancerStage",
    "marker": "TumorMarkerTest",
    "medication": "CancerRelatedMedicationRequest",
    "procedure": "CancerRelatedSurgicalProcedure",
}


def scripted_model(player: Player, ledger: Ledger, **more: Any) -> LedgerModel:
    """Return a chat model of LangChain's that answers for a player; `more` as any chat model takes it."""
    return LedgerModel(
        partial(answer, player),
        ledger=ledger,
        step_of=step_of,
        model=player.model,
        provider=player.provider,
        latency_seconds=0.005,
        **more,
    )


def step_of(messages: Sequence[BaseMessage]) -> str:
    """Return which component asks, by the prompt that it really sent."""
    return EXTRACTOR if messages[0].text == EXTRACT else MAPPER


def answer(player: Player, messages: Sequence[BaseMessage]) -> str:
    """Return what a player answers."""
    content = str(messages[1].text)
    found = _entities(player, content) if step_of(messages) == EXTRACTOR else _mappings(player, content)
    return json.dumps(found)


def _entities(player: Player, note: str) -> list[dict[str, str]]:
    found = []
    for kind, terms in _TERMS.items():
        term = next((term for term in terms if term.lower() in note.lower()), None)
        if term is not None and kind not in player.overlooks:
            found.append({"text": term, "type": kind})
    return found


def _mappings(player: Player, content: str) -> list[dict[str, str]]:
    return [
        {"text": entity["text"], "profile": _PROFILES[entity["type"]]}
        for entity in json.loads(content)
        if entity["type"] not in player.cannot_map
    ]
