"""What does the program do? It moves the old history, has conversations, and shows where the tokens went."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.chat_modes import printing
from examples.chat_modes.budgets import Inbox, make_budgets, tokens_of_session
from examples.chat_modes.chat import MODES, Chat, Conversation
from examples.chat_modes.dashboard import serve_dashboard
from examples.chat_modes.graph import Models
from examples.chat_modes.history import imprint, make_old_database, migrate, roll_back, tables_of
from examples.chat_modes.prices import make_prices
from examples.chat_modes.scripted_models import real_models, scripted_models
from examples.chat_modes.sources import make_sources
from examples.providers import told
from examples.scripted import Ledger, is_exact
from langchain_tokens import TokenUsageHandler, UsageStore

__all__ = ("CONVERSATIONS", "SIDE_BY_SIDE", "main", "talk")

CONVERSATIONS = (
    ("alice", "SIMPLE", "Hub gear or derailleur?"),
    ("alice", "SIMPLE", "And on hills?"),
    ("alice", "TOOL", "What do 3 of the city bike cost in euros?"),
    (
        "alice",
        "RAG",
        (
            "Should we reorder the city bike? Look at the reorder policy, the supplier's stock, our open orders, what "
            "was sold and my notes; and what do 40 at 412 dollars cost?"
        ),
    ),
)
"""Session, mode and question, one after the other."""
SIDE_BY_SIDE = (
    ("bob", "RAG", "Does the supplier have the cargo bike, and what is the warranty?"),
    ("carol", "TOOL", "What do 2 of the kids bike cost in euros?"),
    ("dave", "SIMPLE", "What is done about a flat tyre?"),
    ("erin", "RAG", "What do my notes say on the cargo bike?"),
)
"""The same, all at once."""
_VISITORS_QUESTIONS = ("Hub gear or derailleur?", "And on hills?")
_VISITOR_TOKENS = 500
"""A second question might need more."""
_YOU = "you"


def main(arguments: Sequence[str] | None = None, ledger: Ledger | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 it could not start. Scripts write into the ledger."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        models = _models(options.model, ledger or Ledger())
        with TemporaryDirectory() as folder:
            _run(options, models, options.db or Path(folder) / "chat.db", Path(folder))

    return told("chat_modes", options.model, work)


def talk(chat: Chat) -> list[Conversation]:
    """Have all conversations, some of them side by side in threads, as a server does; in the order they stand above."""
    done = [chat.ask(question, session=session, mode=mode) for session, mode, question in CONVERSATIONS]
    visitor = [tokens_of_session(_VISITOR_TOKENS)]
    with ThreadPoolExecutor(max_workers=len(SIDE_BY_SIDE)) as pool:
        waiting = [
            pool.submit(chat.ask, question, session=session, mode=mode, channel="phone")
            for session, mode, question in SIDE_BY_SIDE
        ]
        done += [each.result() for each in waiting]
    for question in _VISITORS_QUESTIONS:
        done.append(chat.ask(question, session="visitor", mode="SIMPLE", budgets=visitor))
    return done


def _run(options: argparse.Namespace, models: Models, database: Path, folder: Path) -> None:
    began, inbox = datetime.now(UTC), Inbox()
    _move_history(database, began)
    with TokenUsageHandler(database, prices=make_prices(), budgets=make_budgets(inbox)) as handler:
        chat = Chat(models, make_sources(folder / "shop"), handler)
        if options.ask is None:
            _show_all(chat, handler.store, inbox, began, folder)
        else:
            said = chat.ask(options.ask, session=_YOU, mode=options.mode, on_piece=printing.show_piece)
            printing.show_conversation(said)
        if options.dashboard:
            serve_dashboard(handler.store, options.port)


def _show_all(chat: Chat, store: UsageStore, inbox: Inbox, began: datetime, folder: Path) -> None:
    conversations = talk(chat)
    printing.show_conversations(conversations)
    printing.show_usage(store, conversations, began)
    printing.show_limits(store, inbox, began)
    printing.show_prices()
    printing.show_accounting(store, began, folder)
    printing.show_deletion(store, "carol", chat.forget("carol"))


def _move_history(database: Path, now: datetime) -> None:
    """Move the old tracker's rows, back, and again, the first time; later there is nothing to move."""
    if not database.exists():
        make_old_database(database, now)
    before = imprint(database), tables_of(database)
    moved = migrate(database)
    if moved.tables:
        roll_back(database)
        is_as_before = (imprint(database), tables_of(database)) == before
        printing.show_history(moved, is_as_before=is_as_before, again=migrate(database))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.chat_modes", description=__doc__)
    parser.add_argument("--model", help="a name for init_chat_model, like openai:gpt-5-mini; default: scripts, offline")
    parser.add_argument("--ask", metavar="QUESTION", help="have this conversation only")
    parser.add_argument("--mode", choices=MODES, default="RAG", help="in which mode; default: %(default)s")
    parser.add_argument("--db", type=Path, help="the chat's database; default: a new one in a temporary place")
    parser.add_argument("--dashboard", action="store_true", help="then show it in a browser, until Ctrl-C")
    parser.add_argument("--port", type=int, default=4321, help="of the dashboard; 0 is any; default: %(default)s")
    return parser


def _models(name: str | None, ledger: Ledger) -> Models:
    if name is None:
        how = "tiktoken" if is_exact() else "a fixed rule (4 characters for a token), as tiktoken's table is not here"
        print(f"offline: scripted answers in place of five models; token counts by {how}", file=sys.stderr)
        return scripted_models(ledger)
    return real_models(name)
