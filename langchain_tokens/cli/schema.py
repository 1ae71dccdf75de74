"""How does a database's schema change? Brought up, taken back, or added to an application's own database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_tokens.cli.asking import ask
from langchain_tokens.cli.options import Database, Json
from langchain_tokens.cli.output import hint, say, say_document

if TYPE_CHECKING:
    from langchain_tokens.store.downgrade import Downgrade, DowngradePlan
    from langchain_tokens.store.target import StoreTarget

__all__ = ("ADOPT_EXAMPLES", "DOWNGRADE_EXAMPLES", "UPGRADE_EXAMPLES", "adopt", "downgrade", "upgrade")

UPGRADE_EXAMPLES = """\b
Examples:
  langchain-tokens db upgrade
  langchain-tokens db upgrade --db usage.db --no-backup"""
DOWNGRADE_EXAMPLES = """\b
Examples:
  langchain-tokens db downgrade
  langchain-tokens db downgrade 0002 --yes
  langchain-tokens db downgrade base --db app.db"""
ADOPT_EXAMPLES = """\b
Examples:
  langchain-tokens db adopt --db app.db --dry-run
  langchain-tokens db adopt --db app.db
  langchain-tokens db adopt --db postgresql://app@db.example.com/app"""
BackUp = Annotated[bool, typer.Option("--backup/--no-backup", help="Copy a SQLite file first.")]


def upgrade(
    database: Database = None,
    backup: BackUp = True,  # an option
    json: Json = False,
) -> None:
    """Bring it to this version's schema. A SQLite file with an older one is copied first; all rows are kept."""
    from langchain_tokens.store.target import parse_target
    from langchain_tokens.store.upgrade import upgrade_store

    done = upgrade_store(parse_target(database), backup=backup)
    copy = None if done.backup is None else str(done.backup)
    if json:
        say_document(before=done.before, after=done.after, calls=done.calls, backup=copy)
    elif done.before == done.after:
        say(f"schema {done.after} already: nothing to do")
    else:
        say(f"schema {done.before or 'none'} → {done.after}; {done.calls:,} calls kept")
    _name_copy(done.backup)


def downgrade(
    revision: Annotated[str | None, typer.Argument(help="A schema, or base: none of our tables; else a step.")] = None,
    database: Database = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # an option
    backup: BackUp = True,
    json: Json = False,
) -> None:
    """Take the schema back. What the older one has no place for is lost; a SQLite file is copied first."""
    from langchain_tokens.store.downgrade import downgrade_store, plan_downgrade
    from langchain_tokens.store.target import parse_target

    target = parse_target(database)
    plan = plan_downgrade(target, revision)
    if plan.before != plan.after and not yes:
        ask(_lost(plan, target), "nothing was changed")
    done = downgrade_store(target, plan.after, backup=backup)
    if json:
        copy = None if done.backup is None else str(done.backup)
        lost = {"lost_rows": done.plan.lost_rows, "lost_columns": done.plan.lost_columns}
        say_document(before=done.plan.before, after=done.plan.after, rows=done.rows, **lost, backup=copy)
    else:
        say(_summary(done))
    _name_copy(done.backup)


def adopt(
    database: Database = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL; touch nothing.")] = False,  # an option
    backup: BackUp = True,
    json: Json = False,
) -> None:
    """Add our tables to an application's own database. All else in it stays as it is, which is verified."""
    from langchain_tokens.store.adoption import adopt_store, adoption_sql
    from langchain_tokens.store.target import parse_target

    target = parse_target(database)
    if dry_run:
        sql = adoption_sql(target)
        if json:
            say_document(database=str(target), sql=sql)
        elif sql:
            say(sql.rstrip("\n"))
        hint("nothing was changed" if sql else "our tables are there already: nothing to do")
        return
    done = adopt_store(target, backup=backup)
    if json:
        copy = None if done.backup is None else str(done.backup)
        say_document(database=str(target), added=done.added, other_tables=done.other_tables, backup=copy)
    elif done.added:
        say(f"added to {target}: {', '.join(done.added)}")
        hint(f"verified: its {_tables(done.other_tables)} of other makers {_are(done.other_tables)} as before")
        hint("to take exactly these away: langchain-tokens db downgrade base, with the same --db")
    else:
        say("our tables are there already: nothing to do")
    _name_copy(done.backup)


def _lost(plan: DowngradePlan, target: StoreTarget) -> list[str]:
    """What goes, line by line."""
    lines = [f"{target}: schema {plan.before} → {plan.after} takes away:"]
    lines += [f"  {name}: {count:,} rows" for name, count in plan.lost_rows.items()]
    lines += [f"  {column}" for column in plan.lost_columns]
    if target.path is None:
        lines.append("PostgreSQL is not copied first; langchain-tokens db backup names the command that does")
    return lines


def _summary(done: Downgrade) -> str:
    plan = done.plan
    if plan.before == plan.after:
        return f"schema {plan.after} already: nothing to do"
    kept = ", ".join(f"{name} ({count:,} rows)" for name, count in done.rows.items())
    return f"schema {plan.before} → {plan.after}; " + (f"kept: {kept}" if kept else "none of our tables is left")


def _name_copy(copy: Path | None) -> None:
    if copy is not None:
        hint(f"the file as it was: {copy}")


def _tables(count: int) -> str:
    return "1 table" if count == 1 else f"{count:,} tables"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
