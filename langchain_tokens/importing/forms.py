"""Which forms of rows are known, and which is this one? One table; a form is told by the columns that only it has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.importing.batches import anthropic_results, openai_results
from langchain_tokens.importing.drafts import Draft
from langchain_tokens.importing.langfuse import observation
from langchain_tokens.importing.litellm import spend_log
from langchain_tokens.importing.replaced import question_log, token_usage
from langchain_tokens.importing.results import results_of

__all__ = ("AUTO", "FORMS", "OWN", "REPORT", "Form", "form_named", "form_of")

AUTO: Final = "auto"
OWN: Final = "calls"
"""The form of our own exports."""
REPORT: Final = "report"
"""Sums over many requests, of which no calls can be made."""

Columns = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of rows."""

    name: str
    what: str
    needs: tuple[Columns, ...]
    """Of each of these, a row has at least one column."""
    read: Callable[[Mapping[str, Any]], Iterator[Draft]] | None = None
    """Makes a row calls; None for our own rows, and for those of which no calls can be made."""

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a row with these columns is of this form."""
        return all(not names.isdisjoint(columns) for names in self.needs)


def _all(*names: str) -> tuple[Columns, ...]:
    return tuple(frozenset(name.split("|")) for name in names)


FORMS: Final[tuple[Form, ...]] = (
    Form(name=OWN, what="an export of this package", needs=_all("kind", "run_id", "started_at")),
    Form(
        name=OWN,
        what="an export of this package",
        needs=_all("call_id", "run_id", "started_at", "price_status", "usage_source"),
    ),
    Form(name=REPORT, what="a report of OpenAI or Anthropic", needs=_all("start_time|starting_at", "results")),
    Form(name=REPORT, what="rows of such a report", needs=_all("num_model_requests|uncached_input_tokens")),
    Form(
        name="openai-batch",
        what="results of OpenAI's Batch API",
        needs=_all("custom_id", "response", "error"),
        read=openai_results,
    ),
    Form(
        name="anthropic-batch",
        what="results of Anthropic's Message Batches",
        needs=_all("custom_id", "result"),
        read=anthropic_results,
    ),
    Form(name="litellm", what="LiteLLM's spend logs", needs=_all("request_id", "spend", "startTime"), read=spend_log),
    Form(
        name="langfuse",
        what="Langfuse's observations",
        needs=_all("id", "trace_id|traceId", "type", "start_time|startTime", "usage_details|usageDetails|usage"),
        read=observation,
    ),
    Form(
        name="token_usage",
        what="a table token_usage",
        needs=_all("session_id", "timestamp", "chat_mode", "agent_name", "input_tokens"),
        read=token_usage,
    ),
    Form(
        name="llm_token_logs",
        what="a table llm_token_logs",
        needs=_all(
            "intent_prompt_tokens|intent_total_tokens", "sql_generation_prompt_tokens|sql_generation_total_tokens"
        ),
        read=question_log,
    ),
    Form(
        name="results",
        what="results that arrived as data",
        needs=_all("input_tokens|output_tokens|prompt_tokens|completion_tokens|total_tokens|usage|results|responses"),
        read=results_of,
    ),
)
"""The forms, the first that fits."""


def form_of(columns: Collection[str]) -> Form:
    """The form of rows with these columns.

    Raises:
        FormatError: where none fits; it says what was found and what is known.

    """
    found = next((form for form in FORMS if form.fits(columns)), None)
    if found is None:
        names = ", ".join(sorted(map(str, columns))[:12]) or "none"
        raise FormatError(f"its columns are of no known form: {names}; known: {_known()}; a mapping can rename columns")
    return found


def form_named(name: str) -> Form:
    """The form of a name.

    Raises:
        QueryError: for an unknown one.

    """
    found = next((form for form in FORMS if form.name == name and form.name != REPORT), None)
    if found is None:
        raise QueryError(f"unknown format {name!r}; expected {AUTO}, {_known()}")
    return found


def _known() -> str:
    return ", ".join(dict.fromkeys(form.name for form in FORMS if form.name != REPORT))
