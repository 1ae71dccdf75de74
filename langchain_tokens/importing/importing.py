"""How do rows become calls that are stored once? Batch by batch: made, held against what is stored, priced, added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_tokens.call import Call, RunFact
from langchain_tokens.errors import FormatError, QueryError, TokensError
from langchain_tokens.importing.drafts import Imprint, made
from langchain_tokens.importing.forms import AUTO, FORMS, OWN, REPORT, Form, form_named, form_of
from langchain_tokens.importing.imported import Imported, Tally
from langchain_tokens.importing.mapping import Renaming, read_mapping
from langchain_tokens.importing.own import own_call, own_run
from langchain_tokens.importing.pruned import is_pruned, refuse_pruned
from langchain_tokens.importing.rows import Row
from langchain_tokens.importing.sources import Source
from langchain_tokens.importing.storing import Found, Storing
from langchain_tokens.importing.values import is_unknown
from langchain_tokens.names import Names
from langchain_tokens.repricing import usual_prices

if TYPE_CHECKING:
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.store import UsageStore

__all__ = ("Terms", "import_file", "import_results")

Fact = TypeVar("Fact", Call, RunFact)

_BATCH = 1_000
_LOOKED_AT = 50
"""Rows whose columns tell the form."""
_REPORT = "its rows are sums over many requests, and no calls; compare them with what is stored: reconcile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How to import; checked."""

    format: str = AUTO
    mapping: str | Path | Mapping[str, Any] | None = None
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before a file is opened.

        Raises:
            TokensError: for an unknown format, or names that are no text.

        """
        if self.format != AUTO:
            form_named(self.format)
        Names(session=self.session, tags=self.tags)


def import_file(
    store: UsageStore,
    path: str | Path,
    terms: Terms,
    prices: PriceBook | None,
    progress: Callable[[int], object] | None = None,
) -> Imported:
    """Import a file; as `UsageStore.import_file`."""
    source, renaming = Source(path), read_mapping(terms.mapping)
    table, form = _table_and_form(source, terms, renaming)
    changed = datetime.fromtimestamp(source.path.stat().st_mtime, UTC)
    reader = _Reader(form, renaming, _imprint(form, terms, changed), is_csv=source.kind == "csv")
    read_rows = partial(source.rows, exact=form.name != OWN, table=table)
    refuse_pruned(store, lambda: reader.found(read_rows(), Tally()), str(path))
    rows = _watched(read_rows(), source, progress)
    storing = Storing(store, usual_prices(prices).price, is_dry_run=terms.dry_run)
    try:
        _import(rows, reader, storing, derives_runs=form.name != OWN or source.kind in ("csv", "parquet"))
    except FormatError as error:
        so_far = storing.tally
        if not so_far.stored or terms.dry_run:
            raise
        said = f"{so_far.stored:,} calls before that place are stored; a whole file goes on from there"
        raise FormatError(f"{error}; {said}") from error
    return storing.tally.ended(str(path), form.name, is_dry_run=terms.dry_run)


def import_results(
    store: UsageStore, results: Iterable[Mapping[str, Any]], terms: Terms, prices: PriceBook | None
) -> Imported:
    """Import results that arrived as data; as `UsageStore.import_results`."""
    form, renaming = form_named("results" if terms.format == AUTO else terms.format), read_mapping(terms.mapping)
    reader = _Reader(form, renaming, _imprint(form, terms, datetime.now(UTC)), is_csv=False)
    storing = Storing(store, usual_prices(prices).price, is_dry_run=terms.dry_run)
    if is_pruned(store):
        results = list(results)  # read twice
        refuse_pruned(store, lambda: reader.found(_given_rows(results), Tally()), "results")
    _import(_given_rows(results), reader, storing, derives_runs=form.name != OWN)
    return storing.tally.ended("results", form.name, is_dry_run=terms.dry_run)


def _given_rows(results: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    return (_given_row(number, values) for number, values in enumerate(results, start=1))


def _given_row(number: int, values: object) -> Row:
    if isinstance(values, Mapping):
        return Row(number=number, values={name: value for name, value in values.items() if not is_unknown(value)})
    return Row(number=number, problem=f"is a {type(values).__name__}; expected a mapping")


def _imprint(form: Form, terms: Terms, fallback: datetime) -> Imprint:
    return Imprint(form=form.name, fallback_time=fallback, session=terms.session, tags=terms.tags)


def _table_and_form(source: Source, terms: Terms, renaming: Renaming) -> tuple[str | None, Form]:
    if source.kind == "sqlite":
        return _table(source, terms, renaming)
    form = form_named(terms.format) if terms.format != AUTO else None
    if form is None:
        columns = _columns(source, renaming)
        form = form_named(OWN) if columns is None else _known(source, columns)
    return None, form


def _columns(source: Source, renaming: Renaming) -> set[str] | None:
    """The columns that tell the form; None for a document without entries, as an export without calls is."""
    found, has_rows = _named(dict.fromkeys(source.heading, 0), renaming), source.kind != "json"
    for row in islice(source.rows(), _LOOKED_AT):
        has_rows = True
        found |= _named(row.values or {}, renaming)
    return found if has_rows else None


def _named(values: Mapping[str, Any], renaming: Renaming) -> set[str]:
    return {*values, *renaming.apply(values)}


def _known(source: Source, columns: set[str]) -> Form:
    try:
        form = form_of(columns)
    except FormatError as error:
        raise FormatError(f"{source.path}: {error}") from None
    if form.name == REPORT:
        raise FormatError(f"{source.path}: {_REPORT}")
    return form


def _table(source: Source, terms: Terms, renaming: Renaming) -> tuple[str, Form]:
    """The one table of a database whose rows are of a known form."""
    wanted = None if terms.format == AUTO else form_named(terms.format)
    fitting: list[tuple[str, Form]] = []
    for table, columns in source.tables.items():
        named = _named(dict.fromkeys(columns, 0), renaming)
        forms = (
            [wanted] if wanted is not None else [form for form in FORMS if form.read is not None and form.fits(named)]
        )
        fitting += [(table, form) for form in forms[:1] if form.fits(named)]
    if len(fitting) != 1:
        found = ", ".join(f"{table} ({form.name})" for table, form in fitting) or "none of its tables"
        raise FormatError(f"{source.path}: expected one table of a known form; found: {found}. A format says which")
    return fitting[0]


class _Reader:
    """Makes rows calls."""

    def __init__(self, form: Form, renaming: Renaming, imprint: Imprint, *, is_csv: bool) -> None:
        self.form = form
        self._renaming = renaming
        self._imprint = imprint
        self._is_csv = is_csv

    def found(self, rows: Iterable[Row], tally: Tally) -> Iterator[Found]:
        """What all rows hold, each read only when it is asked for."""
        return chain.from_iterable(self.read(row, tally) for row in rows)

    def read(self, row: Row, tally: Tally) -> Sequence[Found]:
        """What a row holds; a row that is wrong is refused."""
        tally.rows += 1
        if row.values is None:
            tally.refuse(row.number, row.problem or "cannot be read")
            return ()
        try:
            found = self._read(row.number, self._renaming.apply(row.values), tally)
        except (ValueError, TokensError, OverflowError) as error:
            tally.refuse(row.number, str(error))
            return ()
        tally.skipped += not found
        return found

    def _read(self, number: int, values: Mapping[str, Any], tally: Tally) -> Sequence[Found]:
        if self.form.read is None:
            return [self._own(number, values)]
        drafts = list(self.form.read(values))
        tally.undated += sum(draft.started_at is None for draft in drafts)
        made_calls = [made(draft, self._imprint) for draft in drafts]
        return [Found(row=number, call=call, fact=fact) for call, fact in made_calls]

    def _own(self, number: int, values: Mapping[str, Any]) -> Found:
        if values.get("kind") == "run":
            return Found(row=number, run=self._marked(own_run(values)))
        call = self._marked(own_call(values, is_csv=self._is_csv))
        return Found(row=number, call=call, fact=_fact_of(call), is_own=True)

    def _marked(self, fact: Fact) -> Fact:
        """With the session and the tags that the import says, where it has none of its own."""
        tags = {**self._imprint.tags, **fact.tags}
        return replace(fact, session=fact.session or self._imprint.session, tags=tags)


def _fact_of(call: Call) -> RunFact:
    """What a call of our own says of its run, where the file has no runs."""
    return RunFact(
        run_id=call.run_id,
        started_at=call.started_at,
        session=call.session,
        mode=call.mode,
        user=call.user,
        tags=call.tags,
        ended_at=call.ended_at,
        status="error" if call.status == "error" else "ok",
        is_given=True,
    )


def _import(rows: Iterator[Row], reader: _Reader, storing: Storing, *, derives_runs: bool) -> None:
    found = reader.found(rows, storing.tally)
    try:
        while batch := list(islice(found, _BATCH)):
            storing.add(batch, derives_runs=derives_runs)
    except QueryError as error:  # the writer's own, none of a row
        raise FormatError(str(error)) from error


def _watched(rows: Iterator[Row], source: Source, progress: Callable[[int], object] | None) -> Iterator[Row]:
    for count, row in enumerate(rows):
        if progress is not None and count % _BATCH == 0:
            progress(source.position)
        yield row
