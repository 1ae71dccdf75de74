"""Who does which step? An extractor that finds what a note says, and a mapper that says which mCODE profile it is.

Each component names its own calls once, with `label`; whoever runs it needs to know nothing of counting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig

from examples.clinical_pipeline.notes import Note
from langchain_tokens import label

__all__ = ("EXTRACT", "EXTRACTOR", "MAP", "MAPPER", "Entity", "Mapping", "StrictMcodeMapper", "StrictNlpExtractor")

EXTRACTOR, MAPPER = "StrictNlpExtractor", "StrictMcodeMapper"
EXTRACT = """You extract clinical entities from a note on a patient with cancer. Types: condition, stage, marker, \
medication, procedure. Take the words of the note as they stand, leave out what it does not say, and never infer a \
diagnosis from a medication. Answer with a JSON list of objects with "text" and "type", and with nothing else: no \
explanation, no Markdown, no remark on what is missing."""
MAP = """You map clinical entities to profiles of mCODE (minimal Common Oncology Data Elements). Answer with a JSON \
list of objects with "text" and "profile", one for each entity that has a profile, and with nothing else."""


class Entity(TypedDict):
    """Something that a note says."""

    text: str
    type: str


class Mapping(TypedDict):
    """An entity and the mCODE profile that it belongs to."""

    text: str
    profile: str


class StrictNlpExtractor:
    """Finds what a note says; an answer that is no JSON is an error.

    Arguments:
        model: The chat model that it asks.

    """

    def __init__(self, model: BaseChatModel) -> None:
        self.chain = label(_prompt(EXTRACT) | model | JsonOutputParser(), chain=EXTRACTOR)

    def extract(self, note: Note, config: RunnableConfig | None = None) -> Sequence[Entity]:
        """Return the entities of a note."""
        found: list[Entity] = self.chain.invoke({"content": note.text}, config)
        return found


class StrictMcodeMapper:
    """Says which profile of mCODE an entity is; an answer that is no JSON is an error.

    Arguments:
        model: The chat model that it asks.

    """

    def __init__(self, model: BaseChatModel) -> None:
        self.chain = label(_prompt(MAP) | model | JsonOutputParser(), chain=MAPPER)

    def map(self, entities: Sequence[Entity], config: RunnableConfig | None = None) -> Sequence[Mapping]:
        """Return the mappings of entities; none have none, and ask nobody."""
        if not entities:
            return []
        found: list[Mapping] = self.chain.invoke({"content": json.dumps(entities)}, config)
        return found


def _prompt(system: str) -> Any:
    return ChatPromptTemplate([("system", system), ("human", "{content}")])
