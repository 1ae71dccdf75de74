"""How do calls get out, and in? `export`, `import`, and `reconcile` with what a provider reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.opening import has_content, opened, why_nothing
from langchain_tokens.cli.options import Asked, Database, FailEmpty, Json, Prices, Shown, Without, tags_of
from langchain_tokens.cli.output import NOTHING_MATCHED, for_stdout, hint, say, say_document
from langchain_tokens.cli.progress import shown_progress
from langchain_tokens.cli.tables import columns_of, say_report
from langchain_tokens.errors import FormatError, QueryError
from langchain_tokens.render import counted

if TYPE_CHECKING:
    from langchain_tokens.store.store import UsageStore

__all__ = ("EXPORT_EXAMPLES", "IMPORT_EXAMPLES", "RECONCILE_EXAMPLES", "export", "import_", "reconcile")

EXPORT_EXAMPLES = """\b
Examples:
  langchain-tokens export -o usage.csv --since 30d
  langchain-tokens export -o usage.parquet --agent writer --tag team=a
  langchain-tokens export --format jsonl --since 7d | gzip > week.jsonl.gz"""
IMPORT_EXAMPLES = """\b
Exit code 1 when a row was refused; the others are stored all the same.
Examples:
  langchain-tokens import usage.jsonl
  langchain-tokens import spend_logs.csv --dry-run
  langchain-tokens import results.json --map columns.toml --session batch-7 --tag team=a"""
RECONCILE_EXAMPLES = """\b
Examples:
  langchain-tokens reconcile usage.json
  langchain-tokens reconcile usage.json costs.json --json"""

_STDOUT = "-"
_USUAL = "jsonl"
_THOUSAND = 1_000
_RECONCILE_GOES = {
    "missing": 1,
    "USD missing": 2,
    "reported": 3,
    "stored": 4,
    "USD reported": 5,
    "USD stored": 6,
    "%": 7,
    "% of USD": 8,
}


def export(
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file; - is standard output.")
    ] = _STDOUT,
    format: Annotated[  # noqa: A002  # the option's name
        str | None, typer.Option(metavar="KIND", help="csv, json, jsonl or parquet; else by the file's ending.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    asked: Asked,
    fail_empty: FailEmpty = False,
) -> None:
    """Write calls to a file. Unknown is empty, money exact, times UTC; `import` reads it back to equal calls."""
    chosen = asked.filters()
    with opened(asked.database) as store, shown_progress("exporting") as progress:
        if output == _STDOUT:
            count = _to_stdout(store, format or _USUAL, progress, chosen)
        else:
            count = store.export(output, format=format, force=force, progress=progress, **chosen)
        nothing = "" if count else f"; {why_nothing(store)}"
    hint(f"wrote {counted(count, 'call')}{_where(output)}{nothing}")
    if fail_empty and not count:
        raise typer.Exit(NOTHING_MATCHED)


def import_(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="CSV, JSON, JSON Lines, Parquet or SQLite files, or gzip of them."),
    ],
    format: Annotated[  # noqa: A002  # the option's name
        str,
        typer.Option(metavar="KIND", help="What rows are, such as results or litellm; auto tells by their columns."),
    ] = "auto",
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="A TOML file that renames columns.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="NAME", help="The session of rows that name none.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="A tag that calls get; once for each key."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be stored.")] = False,
    prices: Prices = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Store the calls that files hold. What is stored is not stored again; prompts and answers are read over."""
    from langchain_tokens import PriceBook

    terms: dict[str, Any] = {"format": format, "mapping": mapping, "session": session, "tags": _given(tag or ())}
    book, done = PriceBook(prices), []
    _require_readable(files)
    with _writable(database, dry_run=dry_run) as store:
        for file in files:
            size = file.stat().st_size if file.is_file() else None
            with shown_progress(f"importing {file.name}", size, is_size=True) as progress:
                done.append(store.import_file(file, prices=book, dry_run=dry_run, progress=progress, **terms))
            if not json:
                say(str(done[-1]))
    if json:
        say_document(files=[asdict(imported) for imported in done])
    if any(imported.refused_rows for imported in done):
        raise typer.Exit(1)


def reconcile(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Usage or cost reports of OpenAI's or Anthropic's API, as JSON."),
    ],
    format: Annotated[  # noqa: A002  # the option's name
        str,
        typer.Option(
            metavar="KIND",
            help="openai-usage, openai-costs, anthropic-usage, anthropic-costs; auto tells by their keys.",
        ),
    ] = "auto",
    prices: Prices = None,
    database: Database = None,
    shown: Annotated[Shown, Without(names=("fail_empty",))],
) -> None:
    """Compare with a provider's reports. By day and model, tokens and US dollars; nothing is stored."""
    from langchain_tokens import PriceBook

    with opened(database) as store:
        found = store.reconcile(*files, format=format, prices=PriceBook(prices))
        if shown.json:
            say_document(database=str(store.target), **found.to_dict())
            return
    table = found._table()
    title = f"Reported and stored · {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} · UTC"
    say_report(title, columns_of(table, _RECONCILE_GOES), shown, totals=1, notes=table.notes)


def _given(said: Sequence[str]) -> dict[str, str]:
    """The tags that calls get.

    Raises:
        QueryError: for one that is not `KEY=VALUE`, or a key that is said twice.

    """
    tags = tags_of(said)
    for key, values in tags.items():
        if len(values) > 1:
            raise QueryError(f"--tag says {key} twice: {', '.join(values)}; a call has one value of a tag")
    return {key: value for key, (value,) in tags.items()}


def _require_readable(files: Sequence[Path]) -> None:
    """Look at all files before a database is made for them.

    Raises:
        FormatError: for the first that cannot be read.

    """
    for file in files:
        try:
            file.open("rb").close()
        except OSError as error:
            raise FormatError(f"{file} could not be read: {error.strerror or error}") from error


@contextmanager
def _writable(database: str | None, *, dry_run: bool) -> Iterator[UsageStore]:
    """The store, made where there is none; for a dry run one in memory then."""
    from langchain_tokens.registry import open_store
    from langchain_tokens.store.target import parse_target

    is_new = not has_content(parse_target(database))
    with closing(open_store("sqlite://" if dry_run and is_new else database)) as store:
        yield store


def _to_stdout(store: UsageStore, format: str, progress: Any, chosen: dict[str, Any]) -> int:  # noqa: A002  # the option's name
    from langchain_tokens.exporting import FORMATS

    if format not in FORMATS:
        raise QueryError(f"--format {format!r}; expected one of {', '.join(FORMATS)}")
    out = sys.stdout.buffer
    with for_stdout():
        count = store.export_into(out, format, progress=progress, **chosen)
        out.flush()
    return count


def _where(output: str) -> str:
    return "" if output == _STDOUT else f" to {output} ({_size(Path(output).expanduser().stat().st_size)})"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < _THOUSAND:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= _THOUSAND
    return f"{count:,.1f} GB"
