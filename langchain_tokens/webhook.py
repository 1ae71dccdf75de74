"""Who else is to be told? `Webhook`: an alert as a JSON document, posted to a URL; nothing of it shows a secret."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from langchain_tokens.errors import BudgetError, TokensError

__all__ = ("Webhook", "WebhookError")

_PAUSES_SECONDS = (0.5, 2.0, 8.0)
_TOO_MANY = 429
_FAILED = 300


class WebhookError(TokensError):
    """Raised when a webhook does not take an alert; logged, since nobody waits for it."""


class Webhook:
    """Posts alerts as JSON: `text` (which Slack and Teams show), and what it is made of.

    Args:
        url: where to, `https://…` or `http://…`; never shown, since it may be a secret.
        timeout: seconds to wait for the connection, and for each answer.
        retries: how often to try again after no answer, a 429 or a 5xx; some seconds apart.
        headers: more headers; never shown.

    Raises:
        BudgetError: for an argument that cannot be.

    """

    def __init__(
        self, url: str, *, timeout: float = 5.0, retries: int = 2, headers: Mapping[str, str] | None = None
    ) -> None:
        _check(url, timeout, retries, headers)
        self._url, self._timeout, self._retries = url, timeout, retries
        self._headers = {"Content-Type": "application/json", "User-Agent": "langchain_tokens", **(headers or {})}

    def __repr__(self) -> str:
        return f"Webhook({self._place!r})"

    def __call__(self, alert: Any) -> None:
        """Post an alert.

        Raises:
            WebhookError: when it was not taken; says the host only.

        """
        body = json.dumps(alert.to_dict()).encode()
        for number in range(self._retries + 1):
            found = self._post(body)
            if found is None:
                return
            is_last = number == self._retries
            if is_last or not found[1]:
                raise WebhookError(f"the webhook at {self._place} did not take an alert: {found[0]}")
            time.sleep(_PAUSES_SECONDS[min(number, len(_PAUSES_SECONDS) - 1)])

    @property
    def _place(self) -> str:
        """The host; what else the URL says may be a secret."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}/…"

    def _post(self, body: bytes) -> tuple[str, bool] | None:
        """Post once; None when it was taken, else what went wrong, and whether another try may help."""
        request = Request(self._url, body, self._headers, method="POST")  # noqa: S310  # the scheme was checked
        try:
            with build_opener(_NoRedirect).open(request, timeout=self._timeout) as answer:
                status = answer.status
        except HTTPError as error:
            error.close()
            status = error.code
        except (URLError, OSError, HTTPException) as error:  # its text may quote the URL
            reason = getattr(error, "reason", error)
            return type(reason if isinstance(reason, Exception) else error).__name__, True
        if status < _FAILED:
            return None
        return f"status {status}", status == _TOO_MANY or status >= 500  # noqa: PLR2004  # the server's own errors


class _NoRedirect(HTTPRedirectHandler):
    """Does not send headers on to wherever a server points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


def _check(url: object, timeout: object, retries: object, headers: object) -> None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        is_url = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        is_url = is_url and str(url).isprintable() and " " not in str(url) and (parts is None or parts.port != 0)
    except ValueError:
        is_url = False
    if not is_url:
        raise BudgetError(f"the webhook's url is no URL ({type(url).__name__}, not shown); expected https://…")
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, (int, float))
        or not (timeout > 0 and math.isfinite(timeout))
    ):
        raise BudgetError(f"timeout={timeout!r}; expected seconds above 0")
    if type(retries) is not int or retries < 0:
        raise BudgetError(f"retries={retries!r}; expected a whole number from 0 on")
    pairs = headers.items() if isinstance(headers, Mapping) else () if headers is None else (("", None),)
    for name, value in pairs:
        if not (isinstance(name, str) and isinstance(value, str) and name.isprintable() and value.isprintable()):
            raise BudgetError("headers is no mapping of printable text to text (not shown)")
