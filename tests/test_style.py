"""Does the package keep its own rules? Small units, no clamped counts, no swallowed errors: measured, not promised."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import langchain_tokens
from langchain_tokens.errors import TokensError

PACKAGE = Path(langchain_tokens.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LONGEST_BODY = 40
LONGEST_FILE = 400
MIGRATIONS = "store/migrations/versions/"
LISTS_OF_COLUMNS = frozenset({"_make_calls"})
"""Functions of migrations that say one column a line, and nothing else."""
CLAMPS_OF_OTHER_THINGS = {
    "recorder.py": 1,  # a waiting time
    "writer.py": 2,  # waiting times
    "prices.py": 1,  # the least overlap of two parts that there can be, for a rate of its own; no count is changed
}


def tree(file: str) -> ast.Module:
    """A module of the package, parsed."""
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in a module."""
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def body_length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring left out."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_guarded_import(node: ast.stmt) -> bool:
    """Tell whether this only imports, or raises an error instead."""
    if not isinstance(node, ast.Try) or node.orelse or node.finalbody:
        return False
    handled = [statement for handler in node.handlers for statement in handler.body]
    return all(isinstance(part, (ast.Import, ast.ImportFrom)) for part in node.body) and all(
        isinstance(part, ast.Raise) for part in handled
    )


def all_errors(kind: type[TokensError] = TokensError) -> Iterator[type[TokensError]]:
    """All errors below ours."""
    for child in kind.__subclasses__():
        yield child
        yield from all_errors(child)


@pytest.mark.parametrize("file", FILES)
def test_functions_are_short(file: str) -> None:
    """No function's body has more than 40 lines."""
    long = [
        f"{function.name}: {body_length(function)}"
        for function in functions(tree(file))
        if body_length(function) > LONGEST_BODY
        and not (file.startswith(MIGRATIONS) and function.name in LISTS_OF_COLUMNS)
    ]
    assert long == []


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file: str) -> None:
    """No file has more than 400 lines."""
    assert len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", FILES)
def test_counts_are_never_clamped(file: str) -> None:
    """No `max(0, ...)` hides a count that cannot be."""
    clamps = [
        node
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "max"
        and any(isinstance(argument, ast.Constant) and argument.value == 0 for argument in node.args)
    ]
    assert len(clamps) <= CLAMPS_OF_OTHER_THINGS.get(file, 0)


@pytest.mark.parametrize("file", FILES)
def test_no_error_is_swallowed(file: str) -> None:
    """No `except Exception` (or anything as wide) ends with nothing done."""
    wide = {"Exception", "BaseException"}
    swallowed = [
        node.lineno
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in wide))
        and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
    ]
    assert swallowed == []


@pytest.mark.parametrize("file", FILES)
def test_module_says_which_question_it_answers(file: str) -> None:
    """Every module begins with a docstring of one sentence on its first line."""
    text = ast.get_docstring(tree(file))
    assert text is not None
    first = text.splitlines()[0]
    assert "?" in first or file.startswith("store/migrations") or file == "__init__.py"


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_done_at_import(file: str) -> None:
    """A module's top level holds definitions; it opens, starts and registers nothing. An import may be guarded by an error
    that names the extra.
    """
    if file == "store/migrations/env.py":
        return  # Alembic runs it, nobody imports it
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    definitions = (ast.Import, ast.ImportFrom, *functions, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If)
    done = [
        node.lineno
        for node in tree(file).body
        if not isinstance(node, definitions)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not is_guarded_import(node)
    ]
    assert done == []


def test_every_error_says_when_it_is_raised() -> None:
    """Each error below `TokensError` has a docstring that starts with "Raised when"."""
    for module in pkgutil.walk_packages(langchain_tokens.__path__, "langchain_tokens."):
        if not module.name.endswith(".env"):
            importlib.import_module(module.name)
    errors = list(all_errors())
    assert len(errors) > 5
    assert [error.__name__ for error in errors if not (error.__doc__ or "").startswith("Raised when")] == []
