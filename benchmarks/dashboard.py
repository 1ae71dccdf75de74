"""How fast is the dashboard? Each answer and each page, the first page's size, a call's way to the screen, and a load.

It fills a new database (see `benchmarks.databases`), serves it with the command, and measures from other processes,
over HTTP on this machine. The way to the screen needs Playwright and Chromium; without them it is left out.

Run: `python -m benchmarks.dashboard --rows 1000000 --folder /var/tmp [--database sqlite postgresql] [--seconds 60]`.
With `--keep` databases stay and are used again; they should be younger than a day, since ranges count back from now.
With `--seconds 0` nothing is written: only the answers are measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.databases import database, fill
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

LIMIT_MS = 50.0
ROUNDS = 7
PATIENCE_MS = 10_000.0
CLIENTS, WRITERS, CALLS_OF_A_WRITER = 20, 4, 250
SCREENS = 20
RANGES = {"7d": "since=7d", "30d": "since=30d", "all": ""}
"""As the pages ask for them."""
ZONES = ("Europe/Berlin", "Asia/Tokyo", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu")
OF_A_RANGE = {
    "overview": "overview?{}",
    "timeline by model": "timeline?every=day&by=model&{}",
    **{f"timeline by model, {zone}": f"timeline?every=day&by=model&tz={zone}&{{}}" for zone in ZONES},
    **{f"timeline of weeks, {zone}": f"timeline?every=week&tz={zone}&{{}}" for zone in ZONES},
    "breakdown by mode": "breakdown?by=mode&limit=200&{}",
    "breakdown by model": "breakdown?by=model&limit=200&{}",
    "breakdown by agent": "breakdown?by=agent&limit=200&{}",
    "breakdown by chain": "breakdown?by=chain&limit=200&{}",
    "breakdown by agent, chain, model": "breakdown?by=agent&by=chain&by=model&limit=500&{}",
    "breakdown by session": "breakdown?by=session&limit=200&{}",
    "breakdown of one agent": "breakdown?by=chain&agent=sql_agent&limit=200&{}",
    "profile": "profile?{}",
    "dimensions": "dimensions?{}",
    "prices": "prices?{}",
    "latest calls": "calls?limit=50&{}",
    "calls by cost": "calls?limit=50&order=-cost_usd&{}",
    "runs": "runs?limit=50&{}",
    "history": "history?{}",
    "unusual": "unusual?{}",
    "findings": "findings?{}",
}
OF_ALL_TIME = {
    "status": "api/v1/status",
    "metrics": "metrics",
    "forecast": "api/v1/forecast",
    "budgets": "api/v1/budgets",
}
LISTS = ("breakdown by mode", "breakdown by model", "breakdown by agent", "breakdown by chain")
PAGES: dict[str, Sequence[str]] = {
    "page Overview": ("overview", "timeline by model", *LISTS, "latest calls"),
    "page Explore": ("breakdown by model", "breakdown by agent, chain, model", "latest calls"),
    "page Cost": ("overview", "timeline by model", "prices", *LISTS),
    "page Runs": ("runs",),
    "page Findings": ("findings", "unusual"),
}
FIRST_PAGE = (
    "",
    *(f"static/{name}" for name in ("style.css", "app.js", "address.js", "api.js", "dom.js", "format.js")),
    *(f"static/{name}" for name in ("charts.js", "echarts.js", "refreshing.js")),
    *(f"static/{name}" for name in ("details.js", "series.js", "views/overview.js", "views/timepanel.js")),
    "static/views/breakdown.js",
    "static/icon.svg",
    "api/v1/status",
    "api/v1/overview?since=7d",
    "api/v1/timeline?every=day&by=model&since=7d",
    *(f"api/v1/breakdown?by={name}&limit=200&since=7d" for name in ("mode", "model", "agent", "chain")),
    "api/v1/calls?limit=10&since=7d",
)
_CHANGED = """(before) => new Promise((resolve) => {
  const value = document.querySelector('.card .value');
  const look = () => value.textContent !== before && resolve(Date.now());
  new MutationObserver(look).observe(value, { childList: true, characterData: true, subtree: true });
  look();
})"""


@contextmanager
def served(url: str) -> Iterator[str]:
    """The command, serving a database on a free port."""
    command = [sys.executable, "-m", "langchain_tokens.cli", "dashboard", "--db", url, "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own command
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


class Client:
    """One connection that is kept open, as a browser's."""

    def __init__(self, base: str) -> None:
        place = urlsplit(base)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)

    def get(self, path: str, *, is_fresh: bool = False) -> tuple[int, int]:
        """Ask; the status, and how many bytes came, headers among them. `is_fresh` takes no answer from before."""
        headers = {"Accept-Encoding": "gzip", **({"Cache-Control": "no-cache"} if is_fresh else {})}
        self._connection.request("GET", f"/{path}", headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        return response.status, len(body) + sum(len(name) + len(value) + 4 for name, value in response.getheaders())

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def measure_answers(base: str) -> dict[str, dict[str, float]]:
    """The median time of each API call for each range, in milliseconds, and of the pages that ask several."""
    client = Client(base)
    found: dict[str, dict[str, float]] = {}
    for name, path in OF_A_RANGE.items():
        found[name] = {span: _median(client, f"api/v1/{path.format(asked)}") for span, asked in RANGES.items()}
    found |= {name: {"all": _median(client, path)} for name, path in OF_ALL_TIME.items()}
    for name, parts in PAGES.items():
        found[name] = {span: sum(found[part][span] for part in parts) for span in RANGES}
    client.close()
    return found


def _median(client: Client, path: str) -> float:
    """Of answers that are made anew; what takes long is asked for fewer times."""
    taken: list[float] = []
    while len(taken) <= ROUNDS and (not taken[1:] or sum(taken) < PATIENCE_MS):
        start = time.perf_counter()
        status, _ = client.get(path, is_fresh=True)
        taken.append((time.perf_counter() - start) * 1_000)
        assert status == 200, path  # noqa: PLR2004  # well
    return statistics.median(taken[1:])


def first_page_bytes(base: str) -> int:
    """What a browser that was never here loads before all numbers are there."""
    client = Client(base)
    total = sum(client.get(path)[1] for path in FIRST_PAGE)
    client.close()
    return total


def ways_to_the_screen(base: str, url: str) -> list[float] | None:
    """Milliseconds from the commit of a call by this process to the changed number on an open page."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if browser_path is None:
        return None
    store, taken = UsageStore(parse_target(url)), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{base}?range=all")  # of no range that moves on: old calls would leave as new ones come
        page.locator("#live[data-state=live]").wait_for()
        page.locator("main[aria-busy=false]").wait_for()
        for number in range(SCREENS):
            page.wait_for_timeout(700)
            before = page.locator(".card .value").first.inner_text()
            page.evaluate(f"(before) => {{ window.seen = ({_CHANGED})(before); }}", before)
            store.add([_call(f"screen-{number}")])
            done = time.time() * 1_000
            taken.append(float(page.evaluate("window.seen")) - done)
        browser.close()
    store.close()
    return taken


def _call(call_id: str) -> Any:
    from langchain_tokens.call import Call
    from langchain_tokens.usage import TokenUsage

    usage = TokenUsage(input_tokens=10, output_tokens=1, total_tokens=11)
    now = datetime.now(UTC)
    call_id = f"{call_id}-{now.timestamp()}"
    return Call(call_id=call_id, run_id="bench", started_at=now, usage=usage, usage_source="provider", model="gpt-4o")


@dataclass
class Load:
    """What clients saw while others recorded."""

    answers: int = 0
    errors: list[str] = field(default_factory=list)
    longest_ms: float = 0.0


def under_load(base: str, url: str, seconds: float) -> tuple[Load, int, int]:
    """Ask with many clients while several processes record; how many calls were recorded, and how many are there."""
    store = UsageStore(parse_target(url))
    before = store.breakdown().total.calls
    load, end = Load(), time.monotonic() + seconds
    command = [sys.executable, "-m", "benchmarks.dashboard", "--record", url, "--seconds", str(seconds)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)]  # noqa: S603
    clients = [threading.Thread(target=_ask_on, args=(base, end, load, number)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    recorded = sum(int(writer.communicate()[0]) for writer in writers)
    stored = store.breakdown().total.calls - before
    store.close()
    return load, recorded, stored


def _ask_on(base: str, end: float, load: Load, number: int) -> None:
    client, paths = Client(base), [path.format("since=7d") for path in OF_A_RANGE.values()]
    while time.monotonic() < end:
        path = paths[(number + load.answers) % len(paths)]
        start = time.perf_counter()
        try:
            status, _ = client.get(f"api/v1/{path}")
        except (OSError, http.client.HTTPException) as error:
            load.errors.append(f"{path}: {error!r}")
            client = Client(base)
            continue
        load.longest_ms = max(load.longest_ms, (time.perf_counter() - start) * 1_000)
        load.answers += 1
        if status != 200:  # noqa: PLR2004  # well
            load.errors.append(f"{path}: {status}")
    client.close()


def record(url: str, seconds: float) -> int:
    """Record calls as an application does, for a while; how many."""
    from langchain_tokens import TokenUsageHandler

    handler, end, count = TokenUsageHandler(url), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        handler.record({"prompt_tokens": 10, "completion_tokens": 1}, chain="load", model="gpt-4o", provider="openai")
        count += 1
        time.sleep(seconds / CALLS_OF_A_WRITER)
    handler.flush(60)
    handler.close()
    return count


def show(kind: str, rows: int, found: dict[str, dict[str, float]]) -> None:
    """Print the table of one database."""
    print(f"\n{kind}, {rows:,} calls: ms to the whole answer over HTTP (median of {ROUNDS})")
    print(f"{'':<36}" + "".join(f"{span:>10}" for span in RANGES))
    for name, times in found.items():
        marks = " SLOW" * any(taken > LIMIT_MS for taken in times.values())
        columns = "".join(f"{times[span]:>10.1f}" if span in times else f"{'':>10}" for span in RANGES)
        print(f"{name:<36}{columns}{marks}")


def measure(kind: str, url: str, rows: int, seconds: float) -> None:
    """Measure all of it on one database."""
    with served(url) as base:
        show(kind, rows, measure_answers(base))
        print(f"first page: {first_page_bytes(base):,} bytes transferred")
        if seconds == 0:
            return
        ways = ways_to_the_screen(base, url)
        if ways is None:
            print("way to the screen: not measured, Playwright or Chromium is not there")
        else:
            print(f"way to the screen, ms: median {statistics.median(ways):.0f}, longest of {SCREENS} {max(ways):.0f}")
        load, recorded, stored = under_load(base, url, seconds)
    print(
        f"{seconds:.0f} s of load: {load.answers:,} answers to {CLIENTS} clients, {len(load.errors)} errors, the "
        f"longest {load.longest_ms:.0f} ms; {recorded:,} calls recorded by {WRITERS} processes, {stored:,} stored"
    )
    for error in load.errors[:5]:
        print(f"  {error}")


def main() -> None:
    """Fill, measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--database", nargs="+", default=["sqlite"], choices=["sqlite", "postgresql"])
    options.add_argument("--folder", type=Path)
    options.add_argument("--seconds", type=float, default=10, help="of load")
    options.add_argument("--keep", action="store_true")
    options.add_argument("--record", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.record:
        print(json.dumps(record(chosen.record, chosen.seconds)))
        return
    for kind in chosen.database:
        with database(kind, chosen.folder, f"history_{chosen.rows}", keep=chosen.keep) as (url, is_new):
            if is_new:
                print(f"{kind}, {chosen.rows:,} calls: {fill(url, chosen.rows)}", file=sys.stderr)
            measure(kind, url, chosen.rows, chosen.seconds)


if __name__ == "__main__":
    main()
