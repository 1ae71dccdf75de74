"""How do calls get out, and in? `export`, `import`, and `reconcile` with what a provider reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_tokens.cli.options import (
    Agent,
    Chain,
    Database,
    Json,
    Model,
    Prices,
    Provider,
    Session,
    Since,
    Until,
)
from langchain_tokens.cli.output import hint, say, say_document
from langchain_tokens.cli.progress import shown_progress

if TYPE_CHECKING:
    from langchain_tokens.importing.imported import Imported
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

User = Annotated[str | None, typer.Option(help="Only calls on this user's behalf.")]
Mode = Annotated[str | None, typer.Option(help="Only calls in this mode.")]
Status = Annotated[str | None, typer.Option(help="Only ok, error, cancelled or cached calls.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE; once for each.")]
_STDOUT = "-"
_USUAL = "jsonl"
_THOUSAND = 1_000


def export(
    output: Annotated[str, typer.Option("--output", "-o", help="The file; - is standard output.")] = _STDOUT,
    format: Annotated[  # noqa: A002  # the option's name
        str | None, typer.Option(help="csv, json, jsonl or parquet; else by the file's ending.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    since: Since = None,
    until: Until = None,
    session: Session = None,
    agent: Agent = None,
    chain: Chain = None,
    model: Model = None,
    provider: Provider = None,
    mode: Mode = None,
    user: User = None,
    status: Status = None,
    tag: Tags = None,
    database: Database = None,
) -> None:
    """Write calls to a file. Unknown is empty, money exact, times UTC; `import` reads it back to equal calls."""
    from langchain_tokens.cli.opening import opened, why_nothing
    from langchain_tokens.query import make_query

    names = {"session": session, "agent": agent, "chain": chain, "model": model, "provider": provider}
    chosen = {
        "since": since,
        "until": until,
        "mode": mode,
        "user": user,
        "status": status,
        "tags": tags_of(tag),
        **names,
    }
    chosen = {name: value for name, value in chosen.items() if value}
    make_query((), chosen)
    with opened(database) as store, shown_progress("exporting") as progress:
        if output == _STDOUT:
            count = _to_stdout(store, format or _USUAL, progress, chosen)
        else:
            count = store.export(output, format=format, force=force, progress=progress, **chosen)
        nothing = "" if count else f"; {why_nothing(store)}"
    hint(f"wrote {_calls(count)}{_where(output)}{nothing}")


def import_(
    files: Annotated[
        list[Path], typer.Argument(help="CSV, JSON, JSON Lines, Parquet or SQLite files, or gzip of them.")
    ],
    format: Annotated[  # noqa: A002  # the option's name
        str, typer.Option(help="The form of the rows, such as results or litellm; auto tells by their columns.")
    ] = "auto",
    mapping: Annotated[Path | None, typer.Option("--map", help="A TOML file that renames columns.")] = None,
    session: Annotated[str | None, typer.Option(help="The session of rows that name none.")] = None,
    tag: Tags = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be stored.")] = False,
    prices: Prices = None,
    database: Database = None,
    json: Json = False,  # an option
) -> None:
    """Store the calls that files hold. Each once, however often it is imported; prompts and answers are read over."""
    from langchain_tokens import PriceBook

    terms: dict[str, Any] = {"format": format, "mapping": mapping, "session": session, "tags": tags_of(tag)}
    book, done = PriceBook(prices), []
    with _writable(database, dry_run=dry_run) as store:
        for file in files:
            size = file.stat().st_size if file.is_file() else None
            with shown_progress(f"importing {file.name}", size, is_size=True) as progress:
                done.append(store.import_file(file, prices=book, dry_run=dry_run, progress=progress, **terms))
            if not json:
                say(str(done[-1]))
    if json:
        say_document(files=[_document(imported) for imported in done])
    if any(imported.refused_rows for imported in done):
        raise typer.Exit(1)


def reconcile(
    files: Annotated[list[Path], typer.Argument(help="Usage or cost reports of OpenAI's or Anthropic's API, as JSON.")],
    format: Annotated[  # noqa: A002  # the option's name
        str,
        typer.Option(help="openai-usage, openai-costs, anthropic-usage, anthropic-costs; auto tells by their keys."),
    ] = "auto",
    prices: Prices = None,
    database: Database = None,
    json: Json = False,  # an option
) -> None:
    """Compare with a provider's reports. By day and model, tokens and US dollars; nothing is stored."""
    from langchain_tokens import PriceBook
    from langchain_tokens.cli.opening import opened

    with opened(database) as store:
        found = store.reconcile(*files, format=format, prices=PriceBook(prices))
    if json:
        say_document(database=str(store.target), **found.to_dict())
    else:
        say(str(found))


def tags_of(said: list[str] | None) -> dict[str, str]:
    """Tags as a command line says them.

    Raises:
        QueryError: for one that is not `KEY=VALUE`.

    """
    from langchain_tokens.errors import QueryError

    pairs = [text.partition("=") for text in said or ()]
    for key, equals, value in pairs:
        if not (key and equals):
            raise QueryError(f"--tag {key}{equals}{value} is no tag; expected KEY=VALUE")
    return {key: value for key, _, value in pairs}


@contextmanager
def _writable(database: str | None, *, dry_run: bool) -> Iterator[UsageStore]:
    """The store, made where there is none; for a dry run one in memory then."""
    from langchain_tokens.cli.opening import has_content
    from langchain_tokens.registry import open_store
    from langchain_tokens.store.target import parse_target

    is_new = not has_content(parse_target(database))
    with closing(open_store("sqlite://" if dry_run and is_new else database)) as store:
        yield store


def _to_stdout(store: UsageStore, format: str, progress: Any, chosen: dict[str, Any]) -> int:  # noqa: A002  # the option's name
    from langchain_tokens.errors import QueryError
    from langchain_tokens.exporting import FORMATS

    if format not in FORMATS:
        raise QueryError(f"--format {format!r}; expected one of {', '.join(FORMATS)}")
    out = sys.stdout.buffer
    try:
        count = store.export_into(out, format, progress=progress, **chosen)
        out.flush()
    except BrokenPipeError:  # whoever reads has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes there at exit
        sys.exit(0)
    return count


def _document(imported: Imported) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(imported)


def _where(output: str) -> str:
    return "" if output == _STDOUT else f" to {output} ({_size(Path(output).expanduser().stat().st_size)})"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < _THOUSAND:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= _THOUSAND
    return f"{count:,.1f} GB"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"
