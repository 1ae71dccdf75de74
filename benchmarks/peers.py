"""Which tracers of others are installed here? Each as a callback handler that sends to a collector on this machine.

Those that patch LangChain for the whole process instead of handing out a handler cannot be measured beside others in
one process, and are left out.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ("collector", "installed")

_COLLECTOR = """
import http.server
class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    do_PATCH = do_PUT = do_GET = do_POST
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector that takes everything, in a process of its own; gives its URL."""
    command = [sys.executable, "-c", _COLLECTOR]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def installed(url: str) -> Mapping[str, list[Any]]:
    """The tracers that are installed, as callbacks by name."""
    return {name: [make(url)] for name, (package, make) in _PEERS.items() if importlib.util.find_spec(package)}


def _langsmith(url: str) -> Any:
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    return LangChainTracer(client=Client(api_url=url, api_key="none"))


def _langfuse(url: str) -> Any:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    Langfuse(public_key="none", secret_key="none", base_url=url)  # noqa: S106  # there is no secret
    return CallbackHandler()


_PEERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "LangSmith": ("langsmith", _langsmith),
    "Langfuse": ("langfuse", _langfuse),
}
