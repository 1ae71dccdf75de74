"""What does the program do? It migrates the application's database, fetches finished batches, and reports."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine

from examples.document_batches.application import open_database
from examples.document_batches.documents import DAYS, FIRST_DAY, MODELS, batches
from examples.document_batches.migration import Migration, MigrationError, make_old_database, migrate, roll_back
from examples.document_batches.poller import Client, Polled, poll
from examples.document_batches.processor import Processor, asking, scripted_answer, serving_processor
from examples.document_batches.report import alert_unusual, print_report
from examples.providers import ModelError, real_model
from examples.scripted import how_counted
from langchain_tokens import TokensError, UsageStore, open_store

__all__ = ("main", "run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program, and return its exit code: 0 done, 2 it could not be."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s %(message)s")
    engine = open_database(options.db)
    try:
        if options.rollback:
            print(f"Rollback: {_said(roll_back(engine), 'gone')}")
            return 0
        models = MODELS if options.model is None else (options.model,)
        run(options.db, engine, _processor(options.model), options.days or (1 if options.model else DAYS), models)
    except (ModelError, MigrationError, TokensError) as error:
        print(f"document_batches: {error}", file=sys.stderr)
        return 2
    finally:
        engine.dispose()
    return 0


def run(url: str, engine: Engine, processor: Processor, days: int, models: Sequence[str] = MODELS) -> None:
    """Migrate, submit, poll twice, and report."""
    make_old_database(engine)
    done = migrate(engine, url)
    print(f"Migration: {_said(done, 'added')}")
    store = open_store(url)
    try:
        with serving_processor(processor) as api:
            client, sent = Client(url=api), list(batches(days, models))
            for batch in sent:
                client.submit(batch)
            _print_polled("First poll", poll(client, store, engine, len(sent)))
            _print_polled("Again", poll(client, store, engine, len(sent)))
        _report(store, days)
    finally:
        store.close()


def _report(store: UsageStore, days: int) -> None:
    now = FIRST_DAY + timedelta(days=days)
    print_report(store, now)
    print("\nUnusual")
    alert_unusual(store, now, print)


def _print_polled(when: str, polled: Polled) -> None:
    said = (
        f"{polled.calls} calls stored, {polled.there} there, {len(polled.refused)} refused; {polled.rows} rows written"
    )
    print(f"{when}: {polled.batches} batches, {polled.results} results: {said}")
    for refused in polled.refused[:1]:
        print(f"  such as {refused}")


def _said(done: Migration | None, word: str) -> str:
    if done is None:
        return "nothing to do"
    columns = ", ".join(done.columns)
    return f"{done.rows} rows as they were; {word}: the tables of langchain_tokens, and the columns {columns}"


def _processor(model: str | None) -> Processor:
    if model is not None:
        return Processor(asking(real_model(model)), has_gaps=False)
    print(f"offline: scripted answers in place of three providers; {how_counted()}", file=sys.stderr)
    return Processor(scripted_answer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.document_batches", description=__doc__)
    parser.add_argument("--db", default="sqlite:///documents.db", help="a URL; default: %(default)s")
    parser.add_argument(
        "--model", help="a name for init_chat_model, like openai:gpt-5-mini; default: scripted, offline"
    )
    parser.add_argument("--days", type=int, help=f"of documents; default: {DAYS}, or 1 with --model")
    parser.add_argument("--rollback", action="store_true", help="take away what the migration added")
    return parser
