"""What goes between a store and files? Export, import and reconciliation; a part of `UsageStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import Engine

from langchain_tokens.query import make_query
from langchain_tokens.store.target import StoreTarget

if TYPE_CHECKING:
    from langchain_tokens.call import Call
    from langchain_tokens.importing.imported import Imported
    from langchain_tokens.importing.reconciling import Reconciliation
    from langchain_tokens.prices import PriceBook
    from langchain_tokens.store.existing import Existing

__all__ = ("Exchange",)

Progress = Callable[[int], object]


class Exchange:
    """The methods of `UsageStore` that write and read files."""

    if TYPE_CHECKING:
        target: StoreTarget
        _prices: PriceBook | None

        def _ready(self) -> Engine: ...
        def _reading(self, *, is_long: bool = False) -> Any: ...

    def export(
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002  # the usual word
        force: bool = False,
        progress: Progress | None = None,
        **filters: Any,
    ) -> int:
        """Write calls to a file, oldest first, in bounded memory: `store.export("calls.csv", since="30d")`.

        Unknown is null or an empty cell, money is exact, times are UTC. JSON and JSON Lines hold the calls' runs too;
        `import_file` reads all of them back to equal calls. The file gets its name when it is whole, or not at all.

        Args:
            path: its ending says what kind of file it is: `.parquet`, `.csv`, `.json`, `.jsonl`, the text ones also
                with `.gz` behind.
            format: the kind of file, whatever its ending is.
            force: replace a file that is there; without, it is an error.
            progress: told now and then how many calls are written.
            filters: which calls; those of `breakdown`.

        Returns:
            How many calls were written.

        """
        from langchain_tokens.exporting import make_goal, writing_to
        from langchain_tokens.store.exports import export_calls

        query = make_query((), filters)
        goal = make_goal(path, format, may_replace=force)
        return export_calls(self._ready(), self.target, query, writing_to(goal), progress)

    def export_into(
        self,
        file: IO[bytes],
        format: str,  # noqa: A002  # the usual word
        *,
        progress: Progress | None = None,
        **filters: Any,
    ) -> int:
        """The same into a binary file that is open, such as standard output."""
        from langchain_tokens.exporting import writing_into
        from langchain_tokens.store.exports import export_calls

        query = make_query((), filters)
        return export_calls(self._ready(), self.target, query, writing_into(file, format), progress)

    def import_file(
        self,
        path: str | Path,
        *,
        format: str = "auto",  # noqa: A002  # the usual word
        mapping: str | Path | Mapping[str, Any] | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        prices: PriceBook | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Imported:
        """Store the calls that a file holds; those that are stored are not stored again.

        A file of `export` comes back as it was. Of others, `docs/import-export.md` says which are known; their calls
        are priced at their own time, unless the file says a cost. Prompts and answers are read over. A row that cannot
        be a call is refused on its own, with its line and the reason.

        Args:
            path: CSV, JSON, JSON Lines, Parquet (with gzip or not) or SQLite; told by what is in it.
            format: the form of its rows; `auto` tells by their columns.
            mapping: where columns are called otherwise: a TOML file, or a mapping with `columns` (our name → the
                file's) and `constants` (our name → a value for all rows).
            session: of rows that name none.
            tags: for all rows; a row's own win.
            prices: what calls cost; None is as for `reprice`.
            dry_run: only say what would be stored.
            progress: told now and then how many bytes of the file are read.

        Returns:
            How many rows were read, stored, there already, or refused.

        Raises:
            FormatError: when the file is of no known form, or broken; rows before the broken place are stored.
            StoreError: when it has calls of a time whose rows were pruned and whose sums are kept, where they would
                count twice; then none is stored.

        """
        from langchain_tokens.importing.importing import Terms, import_file

        terms = Terms(format=format, mapping=mapping, session=session, tags=tags or {}, dry_run=dry_run)
        return import_file(self, path, terms, prices or self._prices, progress)  # type: ignore[arg-type]  # the one class

    def import_results(
        self,
        results: Iterable[Mapping[str, Any]],
        *,
        format: str = "results",  # noqa: A002  # the usual word
        mapping: str | Path | Mapping[str, Any] | None = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        prices: PriceBook | None = None,
        dry_run: bool = False,
    ) -> Imported:
        """The same for results that arrive as data, such as those of a poller that fetches finished batches.

        A result that was stored before is not stored again, so that a poller may hand over all it sees.

        Args:
            results: mappings with `status, error_message, input_tokens, output_tokens, time_taken_seconds`, and what
                else the form `results` knows; all of them may be missing.

        """
        from langchain_tokens.importing.importing import Terms, import_results

        terms = Terms(format=format, mapping=mapping, session=session, tags=tags or {}, dry_run=dry_run)
        return import_results(self, results, terms, prices or self._prices)  # type: ignore[arg-type]  # the one class

    def reconcile(
        self,
        *paths: str | Path,
        format: str = "auto",  # noqa: A002  # the usual word
        prices: PriceBook | None = None,
    ) -> Reconciliation:
        """Compare what a provider reports for each day and model with what is stored; stores nothing.

        Args:
            paths: usage or cost reports of a provider's API, as JSON; several pages or both kinds together.
            format: the form of the reports; `auto` tells by their keys.
            prices: what the reported tokens would cost, where no report says it; None is as for `reprice`.

        Raises:
            FormatError: when a file is no such report.

        """
        from langchain_tokens.importing.reconciling import reconcile

        return reconcile(self, paths, format, prices or self._prices)  # type: ignore[arg-type]  # the one class

    def existing(self, calls: Sequence[Call], run_ids: Sequence[str] = ()) -> Existing:
        """Which of some calls are stored, by their ids and by those that providers gave to their answers; and runs."""
        from langchain_tokens.store.existing import read_existing

        with self._reading(is_long=True) as connection:
            return read_existing(connection, calls, run_ids)
