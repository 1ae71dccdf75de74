"""What may a user rely on? The public names, their docstrings, and an import that costs little."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import langchain_tokens
from langchain_tokens import Breakdown, Call, PriceBook, Run, TokenUsage, TokenUsageHandler, UsageStore, track
from langchain_tokens.checking import Check
from langchain_tokens.repricing import Repricing
from langchain_tokens.said import ContentFact
from langchain_tokens.savings import Savings
from langchain_tokens.store.following import Follower
from langchain_tokens.store.pruning import Pruned

ROOT = Path(langchain_tokens.__file__).parents[1]
NAMES = set(langchain_tokens.__all__)
CONTRACT = {
    "Breakdown",
    "Budget",
    "BudgetExceeded",
    "Call",
    "PriceBook",
    "Run",
    "TokenUsage",
    "TokenUsageHandler",
    "TokensError",
    "UsageStore",
    "attach",
    "label",
    "open_store",
    "track",
}
"""The names of the contract that this version has."""
HEAVY = ("tiktoken", "genai_prices", "pandas", "rich", "fastapi", "starlette", "sqlmodel", "sqlalchemy", "alembic")
CLASSES = [Breakdown, Call, PriceBook, Run, TokenUsage, TokenUsageHandler, UsageStore]


def run_python(program: str) -> str:
    """What a program prints in a fresh interpreter where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def members(cls: type) -> dict[str, Any]:
    """The public methods and properties that a class defines itself."""
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, (property, classmethod, staticmethod)))
    }


def test_public_names_are_the_contract() -> None:
    """`__all__` has the contract's names, in order, and each of them can be got."""
    assert NAMES >= CONTRACT
    assert len(NAMES) == len(langchain_tokens.__all__)
    assert all(getattr(langchain_tokens, name).__name__ == name for name in NAMES)


def test_nothing_else_is_public() -> None:
    """What a user can get from the package, submodules aside, is `__all__`."""
    program = (
        "import langchain_tokens as package, types\n"
        "names = {name for name in dir(package) if not name.startswith('_')}\n"
        "gettable = {name for name in names if not isinstance(getattr(package, name), types.ModuleType)}\n"
        "print(*sorted(gettable - set(package.__all__) - {'annotations', 'import_module', 'TYPE_CHECKING', 'Any'}))\n"
        "print(set(package.__all__) <= names)\n"
    )
    assert run_python(program) == "True"


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not have is said so."""
    with pytest.raises(AttributeError, match=r"module 'langchain_tokens' has no attribute 'Bugdet'"):
        _ = langchain_tokens.Bugdet


def test_star_import_brings_the_public_names() -> None:
    """`from langchain_tokens import *` brings `__all__`, also without any extra installed."""
    program = (
        "import sys\n"
        "for name in ('pandas', 'psycopg', 'tiktoken', 'rich', 'fastapi', 'uvicorn', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "before = set(globals())\n"
        "from langchain_tokens import *\n"
        "print(*sorted(set(globals()) - before - {'before'}))\n"
    )
    assert set(run_python(program).split()) == NAMES


@pytest.mark.parametrize(
    "statement", ["import langchain_tokens", "from langchain_tokens import TokenUsageHandler, Call, Breakdown, track"]
)
def test_import_is_cheap(statement: str) -> None:
    """Importing the package, and the names that an application starts with, loads none of the heavy parts beyond what
    LangChain itself loads.
    """
    program = (
        "import sys\n"
        "from langchain_core.callbacks import BaseCallbackHandler\n"
        "from langchain_core.runnables import Runnable\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        f"print(*[name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    assert run_python(program) == ""


def test_first_import_loads_nothing() -> None:
    """Importing the package alone loads nothing but the package."""
    program = (
        "import __future__, sys, importlib, typing\nbefore = set(sys.modules)\nimport langchain_tokens\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    assert run_python(program) == "langchain_tokens"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_thing_is_documented(name: str) -> None:
    """Every public name has a docstring that begins with a sentence."""
    text = inspect.getdoc(getattr(langchain_tokens, name))
    assert text is not None
    assert text[0].isupper() or text[0] == "`"
    assert text.split("\n\n")[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("cls", CLASSES)
def test_public_members_are_documented(cls: type) -> None:
    """Every public method and property has a docstring of its own."""
    missing = [name for name, value in members(cls).items() if not getattr(value, "__doc__", None)]
    assert missing == []
    assert dataclasses.is_dataclass(cls) or members(cls)


@pytest.mark.parametrize("cls", [Call, TokenUsage])
def test_records_are_frozen_slotted_and_keyword_only(cls: Any) -> None:
    """The records of the contract are frozen, slotted, keyword-only dataclasses."""
    parameters = cls.__dataclass_params__
    assert (parameters.frozen, "__slots__" in vars(cls)) == (True, True)
    assert all(entry.kw_only for entry in dataclasses.fields(cls))


@pytest.mark.parametrize("cls", CLASSES)
def test_types_can_be_read_at_run_time(cls: type) -> None:
    """Tools that read type hints (documentation, dependency injection) can resolve those of the public methods."""
    hidden = {"to_pandas", "__getitem__"}  # pandas is an extra
    functions = {
        name: value for name, value in members(cls).items() if inspect.isfunction(value) and name not in hidden
    }
    lazy = {
        "PriceBook": PriceBook,
        "UsageStore": UsageStore,
        "Repricing": Repricing,
        "Check": Check,
        "Savings": Savings,
        "Follower": Follower,
        "Pruned": Pruned,
        "ContentFact": ContentFact,
    }
    assert all("return" in get_type_hints(value, localns=lazy) for value in functions.values())


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (TokenUsageHandler, "store session mode agent user tags prices budgets estimate capture_content journal"),
        (
            TokenUsageHandler.record,
            "self usage chain agent model provider session run_id mode status error started_at duration_ms attempt tags",
        ),
        (TokenUsageHandler.breakdown, "self by filters"),
        (TokenUsageHandler.flush, "self timeout"),
        (track, "store session run mode agent chain user tags attempt error"),
        (langchain_tokens.attach, "runnable handler agents mode"),
        (langchain_tokens.label, "runnable chain agent mode"),
        (langchain_tokens.open_store, "url"),
        (UsageStore.breakdown, "self by filters"),
        (UsageStore.timeline, "self every by filters"),
        (UsageStore.calls, "self limit offset order filters"),
        (UsageStore.runs, "self limit offset filters"),
        (UsageStore.sessions, "self filters"),
        (UsageStore.delete, "self filters"),
    ],
)
def test_signatures_are_the_contract(function: Any, parameters: str) -> None:
    """The parameters of the contract are there, in its order; new ones may only come after them."""
    found = list(inspect.signature(function).parameters)
    expected = parameters.split()
    assert [name for name in found if name in expected] == expected


def test_open_store_says_what_it_returns() -> None:
    """A type checker knows that a store is opened."""
    assert inspect.signature(langchain_tokens.open_store).return_annotation == "UsageStore"


def test_package_is_typed() -> None:
    """The package says to type checkers that its annotations count."""
    assert (Path(langchain_tokens.__file__).parent / "py.typed").exists()
