"""What do all tests of recordings share? One replay server, and one handler with its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from langchain_tokens import TokenUsageHandler, open_store

from .driving import Driver
from .recordings import replaying

_END = "-----END CERTIFICATE-----\n"


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Give one server, one handler and one database for all recordings; nothing is estimated, so that only what the
    provider said is reported.
    """
    folder = tmp_path_factory.mktemp("recorded")
    url = f"sqlite:///{folder / 'tokens.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(_one_certificate(folder)))
        with replaying() as replay, TokenUsageHandler(store=url, estimate=False) as handler:
            yield Driver(replay, handler, open_store(url))


def _one_certificate(folder: Path) -> Path:
    """A file that the clients read in place of all certificates there are, which took them most of their time; no
    connection of theirs is encrypted here.
    """
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition(_END)
    path = folder / "certificate.pem"
    path.write_text(first + end, encoding="utf-8")
    return path
