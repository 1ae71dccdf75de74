"""How is a question asked once more? By one statement for all questions of its form, which differ in values only.

To put a statement together takes ten times as long as to run it; so those that were asked before are kept. Names of
parameters begin with `asked_`: a value that SQLAlchemy names itself has the name of its column with a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, bindparam, collate, func, select, union

from langchain_tokens.query import Query
from langchain_tokens.store.plan import Span, SpanStep, parts_of, put_together, spans_of
from langchain_tokens.store.sums import SUMS, Later, are_few

__all__ = ("Asked", "Form", "asked", "count_statement", "largest_statement", "question_of", "whole_statement")

_FORMS = 300
"""Statements that are kept."""
_Named = tuple[str, bool, bool, bool]
"""A filter's name, whether it allows any value, whether it allows that there is none, and whether these are few."""


@dataclass(frozen=True, slots=True)
class Form:
    """All of a question but its values."""

    by: tuple[str, ...]
    equals: tuple[_Named, ...]
    tags: tuple[_Named, ...]
    spans: tuple[tuple[SpanStep | None, bool, bool], ...]
    """Of each part of the range: the step of the sums that answer it, whether it has a beginning, and an end."""
    only: tuple[str, ...]
    """Which sums."""
    dialect: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a statement of its form takes it."""

    form: Form
    values: Mapping[str, Any]
    """Parameters of the statement."""


def asked(query: Query, dialect: str, only: Sequence[str] = SUMS, spans: Sequence[Span] | None = None) -> Asked:
    """Part a question into its form and its values.

    Args:
        query: what is asked.
        dialect: the database's.
        only: which sums.
        spans: the parts of its range; those of the plan by default.

    """
    values: dict[str, Any] = {}
    ends: list[tuple[SpanStep | None, bool, bool]] = []
    for index, (step, since, until) in enumerate(spans_of(query) if spans is None else spans):
        values |= {f"asked_since_{index}": since, f"asked_until_{index}": until}
        ends.append((step, since is not None, until is not None))
    form = Form(
        by=query.by,
        equals=_named("equals", query.equals, values),
        tags=_named("tags", query.tags, values),
        spans=tuple(ends),
        only=tuple(only),
        dialect=dialect,
    )
    return Asked(form, values)


@lru_cache(_FORMS)
def whole_statement(form: Form) -> Select[Any]:
    """The statement of all groups, as `planned_statement`."""
    return put_together(*question_of(form), form.dialect, form.only)


@lru_cache(_FORMS)
def largest_statement(form: Form, rank: str, *, is_known: bool | None) -> Select[Any]:
    """The statement of the first `most` groups by a sum: of those that know it, or those that do not; None for both."""
    groups = whole_statement(form).subquery()
    size = groups.c[rank]
    statement = select(groups).limit(bindparam("asked_most", type_=Integer()))
    among_equals = (groups.c.calls.desc(), *(_upwards(groups.c[f"key_{i}"], form) for i in range(len(form.by))))
    if is_known is None:
        return statement.order_by(size.desc().nulls_last(), *among_equals)
    if is_known:
        return statement.where(size.is_not(None)).order_by(size.desc(), *among_equals)
    return statement.where(size.is_(None)).order_by(*among_equals)


def _upwards(key: ColumnElement[Any], form: Form) -> ColumnElement[Any]:
    """A part of a key in the order in which all groups are sorted, whatever the database's own order of words is."""
    is_text = form.dialect == "postgresql" and isinstance(key.type, String)
    return (collate(key, "C") if is_text else key).asc().nulls_first()


@lru_cache(_FORMS)
def count_statement(form: Form) -> Select[Any]:
    """The statement that counts the groups of one dimension, but for the one without a name."""
    parts = parts_of(*question_of(form), form.dialect, ())
    names = (union(*parts) if len(parts) > 1 else parts[0].distinct()).subquery()
    return select(func.count()).select_from(names).where(names.c.key_0 != "")


def question_of(form: Form) -> tuple[Query, Sequence[Span]]:
    """A question of a form and the parts of its range, with parameters for their values."""
    query = Query(by=form.by, equals=_later("equals", form.equals), tags=_later("tags", form.tags))
    spans: list[Span] = []
    for index, (step, begins, ends) in enumerate(form.spans):
        since: Any = bindparam(f"asked_since_{index}")
        until: Any = bindparam(f"asked_until_{index}")
        spans.append((step, since if begins else None, until if ends else None))
    return query, spans


def _named(kind: str, filters: Mapping[str, tuple[str | None, ...]], values: dict[str, Any]) -> tuple[_Named, ...]:
    """The form of filters; their values are added to the others."""
    found: list[_Named] = []
    for index, (name, allowed) in enumerate(filters.items()):
        given = [value for value in allowed if value is not None]
        values |= {f"asked_{kind}_{index}": given, f"asked_{kind}_{index}_kept": [value or "" for value in allowed]}
        found.append((name, bool(given), len(given) < len(allowed), are_few(allowed)))
    return tuple(found)


def _later(kind: str, named: Sequence[_Named]) -> Any:
    """Filters whose values come later, in the place of tuples of values."""
    return {
        name: Later(
            given=bindparam(f"asked_{kind}_{index}", expanding=True) if has_names else None,
            kept=bindparam(f"asked_{kind}_{index}_kept", expanding=True),
            has_none=has_none,
            is_few=is_few,
        )
        for index, (name, has_names, has_none, is_few) in enumerate(named)
    }
