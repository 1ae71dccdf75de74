"""What do open pages cost while calls are stored steadily? Requests, the server's CPU, and how late the numbers are.

A process stores a call every 100 ms in the database that is named, which keeps them. Pages are open in one browser, all
of them visible. It needs Playwright and Chromium, and Linux.

Run: `python -m benchmarks.open_page --url sqlite:////tmp/history.db [--tabs 1] [--view overview] [--seconds 10]`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dashboard import _call
from langchain_tokens.store.store import UsageStore
from langchain_tokens.store.target import parse_target

PAUSE_SECONDS = 0.1
_SEEN = """() => {
  window.seen = [];
  const value = document.querySelector('.card .value');
  const look = () => window.seen.push([Date.now(), Number(value.textContent.replaceAll(',', ''))]);
  if (value) new MutationObserver(look).observe(value, { childList: true, characterData: true, subtree: true });
}"""


@contextmanager
def served(url: str) -> Iterator[tuple[str, int]]:
    """The command, serving a database: where, and in which process."""
    command = [sys.executable, "-m", "langchain_tokens.cli", "dashboard", "--db", url, "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own command
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def store_steadily(url: str, seconds: float) -> None:
    """Store calls; print when each was committed, and how many there are then."""
    store, end = UsageStore(parse_target(url)), time.monotonic() + seconds
    count = store.breakdown().total.calls
    while time.monotonic() < end:
        store.add([_call(f"steady-{count}")])
        count += 1
        print(time.time() * 1_000, count, flush=True)
        time.sleep(PAUSE_SECONDS)
    store.close()


def cpu_seconds(process: int) -> float:
    """What a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(url: str, tabs: int, view: str, seconds: float) -> None:
    """Open pages, store calls, and print what that took."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "benchmarks.open_page", "--url", url, "--store", "--seconds", str(seconds + 3)]
    with served(url) as (base, server), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pages, requests = [browser.new_page() for _ in range(tabs)], list[str]()
        for page in pages:
            page.on("request", lambda request: requests.append(request.url))
            page.goto(f"{base}?view={view}&range=all")
            page.locator("#live[data-state=live]").wait_for()
            page.locator("main[aria-busy=false]").wait_for()
        pages[0].evaluate(_SEEN)
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own command
        pages[0].wait_for_timeout(2_000)
        before, used, start = len(requests), cpu_seconds(server), time.perf_counter()
        pages[0].wait_for_timeout(seconds * 1_000)
        took, used = time.perf_counter() - start, cpu_seconds(server) - used
        print(f"{tabs} of {view}: {(len(requests) - before) / took:.1f} requests/s, CPU {used / took * 100:.0f} %")
        stored = [line.split() for line in writer.communicate()[0].splitlines()]
        if view == "overview":
            pages[0].wait_for_timeout(1_000)
            show_delays(stored, pages[0].evaluate("window.seen"))
        browser.close()


def show_delays(stored: list[list[str]], seen: list[Any]) -> None:
    """Print how long after its commit each call was counted on the screen."""
    delays = sorted(min(at for at, number in seen if number >= int(count)) - float(done) for done, count in stored)
    late = delays[int(len(delays) * 0.95)]
    print(f"  commit to screen, ms: median {statistics.median(delays):.0f}, 95 % {late:.0f}, longest {delays[-1]:.0f}")


def main() -> None:
    """Measure, or be the process that stores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", required=True)
    options.add_argument("--tabs", type=int, default=1)
    options.add_argument("--view", default="overview")
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--store", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.store:
        store_steadily(chosen.url, chosen.seconds)
    else:
        measure(chosen.url, chosen.tabs, chosen.view, chosen.seconds)


if __name__ == "__main__":
    main()
