"""How long does the command take to start? A first `report` of a fresh database, beside what the libraries take alone.

    python -m benchmarks.command [--rounds 15]

Each round runs, one after another and each as a process: `import sqlmodel, rich, typer`, which the command cannot do
without, the report, and the help. Medians of the wall time and of the processor's time, and the ratio of the report to
the libraries within each round; it should be below 1.5.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from langchain_tokens import Call, TokenUsage, UsageStore
from langchain_tokens.store.target import parse_target

_COMMAND = (sys.executable, "-m", "langchain_tokens.cli")
_PROGRAMS: Mapping[str, Sequence[str]] = {
    "import sqlmodel, rich, typer": (sys.executable, "-c", "import sqlmodel, rich, typer"),
    "report": (*_COMMAND, "report"),
    "--help": (*_COMMAND, "--help"),
}
_LIBRARIES, _REPORT = "import sqlmodel, rich, typer", "report"
_CALLS = 200


class Taken(NamedTuple):
    """Seconds that a process took."""

    wall: float
    processor: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder) / "langchain_tokens.db")
        _round(folder)  # writes the byte code, and warms the disk's cache
        taken = [_round(folder) for _ in range(rounds)]
    print(f"{'':<30}{'wall':>10}{'processor':>12}   median of {rounds}")
    for name in _PROGRAMS:
        wall, processor = (statistics.median(part) for part in zip(*(each[name] for each in taken), strict=True))
        print(f"{name:<30}{wall * 1_000:>7,.0f} ms{processor * 1_000:>9,.0f} ms")
    for place, what in enumerate(("wall", "processor")):
        ratios = [each[_REPORT][place] / each[_LIBRARIES][place] for each in taken]
        print(
            f"{_REPORT} / libraries, {what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _fill(path: Path) -> None:
    """Make a database with some calls."""
    start = datetime.now(UTC) - timedelta(days=3)
    usage = TokenUsage(input_tokens=100, output_tokens=20, total_tokens=120)
    calls = [
        Call(
            call_id=str(number),
            run_id=str(number // 4),
            chain=f"chain-{number % 4}",
            model="gpt-4o",
            started_at=start + timedelta(minutes=20 * number),
            usage=usage,
            usage_source="provider",
            cost_usd=Decimal("0.01"),
            price_status="priced",
        )
        for number in range(_CALLS)
    ]
    store = UsageStore(parse_target(path))
    store.add(calls)
    store.close()


def _round(folder: str) -> dict[str, Taken]:
    return {name: _run(program, folder) for name, program in _PROGRAMS.items()}


def _run(program: Sequence[str], folder: str) -> Taken:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANGCHAIN_TOKENS_")}
    before, start = _processor(), time.perf_counter()
    subprocess.run(program, cwd=folder, env=environment, check=True, capture_output=True)  # noqa: S603  # our own words
    return Taken(time.perf_counter() - start, _processor() - before)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
