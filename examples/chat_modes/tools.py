"""What can the agents do? Arithmetic, files, sums over a table, SQL; each a tool that refuses what it should not do."""

from __future__ import annotations

import ast
import csv
import operator
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, ToolException, tool

from examples.chat_modes.sources import Orders

__all__ = ("calculate", "file_tools", "query_tool", "table_tool")

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@tool
def calculate(expression: str) -> str:
    """Evaluate arithmetic: numbers, + - * / and parentheses."""
    try:
        return f"{_value(ast.parse(expression, mode='eval').body):,.2f}"
    except (SyntaxError, ZeroDivisionError, OverflowError, RecursionError) as error:
        raise ToolException(f"{expression!r} cannot be evaluated: {error}") from error


def _value(node: ast.expr) -> float:
    """What a part of an expression comes to; anything but arithmetic is refused, so that nothing is executed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ToolException(f"{type(node).__name__} is no arithmetic")


def file_tools(folder: Path) -> list[BaseTool]:
    """Tools that read one folder, and nothing outside it."""
    root = folder.resolve()

    @tool
    def list_files() -> str:
        """List the files there are."""
        return "\n".join(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))

    @tool
    def read_file(path: str) -> str:
        """Read a text file."""
        wanted = (root / path).resolve()
        if not wanted.is_relative_to(root) or not wanted.is_file():
            raise ToolException(f"there is no file {path!r}")
        return wanted.read_text(encoding="utf-8")

    return [list_files, read_file]


def table_tool(file: Path) -> BaseTool:
    """A tool that sums up a CSV file, with pandas where it is installed."""

    @tool
    def sum_sales(product: str) -> str:
        """How many of a product were sold in each month."""
        sums = _sold_by_month(file, product)
        if not sums:
            raise ToolException(f"no sales of {product!r}")
        return ", ".join(f"{month}: {sold}" for month, sold in sums.items())

    return sum_sales


def _sold_by_month(file: Path, product: str) -> Mapping[str, int]:
    try:
        import pandas
    except ImportError:
        return _sold_by_month_without_pandas(file, product)
    table = pandas.read_csv(file)
    sums = table[table["product"] == product].groupby("month")["sold"].sum()
    return {str(month): int(sold) for month, sold in sums.items()}


def _sold_by_month_without_pandas(file: Path, product: str) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["product"] == product:
                sums[row["month"]] = sums.get(row["month"], 0) + int(row["sold"])
    return dict(sorted(sums.items()))


def query_tool(orders: Orders) -> BaseTool:
    """A tool that asks the order table."""

    @tool
    def query_orders(sql: str) -> str:
        """Run an SQLite query on the table orders (product TEXT, quantity INTEGER, status TEXT)."""
        try:
            rows: list[tuple[Any, ...]] = orders.execute(sql)
        except sqlite3.Error as error:
            raise ToolException(str(error)) from error
        return "\n".join(", ".join(map(str, row)) for row in rows) or "no rows"

    return query_orders
