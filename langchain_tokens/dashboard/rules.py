"""Who may come in? Tokens, cookies and host names: what is allowed, decided without a database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from langchain_tokens.errors import DashboardError

__all__ = ("LEAST_TOKEN", "Rules", "make_rules", "make_token")

LEAST_TOKEN = 16
"""Characters that a token has at least."""
_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may come in."""

    token: str | None = field(repr=False)
    allowed_hosts: frozenset[str]

    @property
    def cookie_name(self) -> str:
        """The cookie's name; another one for each token, since all ports of a host share their cookies."""
        return f"langchain_tokens_{self._derived('name')[:8]}"

    @property
    def cookie_value(self) -> str:
        """What the cookie of somebody who knew the token holds; the token cannot be found from it."""
        return self._derived("session")

    def is_host_allowed(self, host: str | None) -> bool:
        """Whether a request may be addressed to this host; its port does not matter."""
        return _ANY in self.allowed_hosts or host_name(host) in self.allowed_hosts

    def is_token(self, said: str) -> bool:
        """Whether this is the token; takes as long for any."""
        return self.token is not None and hmac.compare_digest(said.encode(), self.token.encode())

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Whether a request shows the token, as a bearer or by the cookie."""
        if self.token is None:
            return True
        kind, _, said = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.is_token(said.strip())
        from starlette.requests import cookie_parser

        shown = cookie_parser(headers.get("cookie", "")).get(self.cookie_name)  # forgives other cookies, as browsers do
        return shown is not None and hmac.compare_digest(shown.encode(), self.cookie_value.encode())

    def _derived(self, use: str) -> str:
        key = (self.token or "").encode()
        return hmac.new(key, f"langchain_tokens dashboard {use}".encode(), hashlib.sha256).hexdigest()


def make_rules(*, token: str | None, allowed_hosts: Sequence[str]) -> Rules:
    """Check what was asked for.

    Raises:
        DashboardError: for a token that can be guessed, or no allowed host.

    """
    if token is not None and len(token.strip()) < LEAST_TOKEN:
        raise DashboardError(
            f"the token has {len(token.strip())} characters, and could be guessed; {LEAST_TOKEN} or more are needed"
        )
    if isinstance(allowed_hosts, str) or not allowed_hosts:
        raise DashboardError(f"allowed_hosts={allowed_hosts!r} names no host; expected a list such as ['localhost']")
    hosts = frozenset(_ANY if host == _ANY else host_name(host) for host in allowed_hosts)
    return Rules(token=None if token is None else token.strip(), allowed_hosts=hosts)


def make_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def host_name(host: str | None) -> str:
    """The name in a Host header, in lower case, without the port and the brackets of IPv6; empty for none."""
    if host and host.count(":") > 1 and not host.startswith("["):
        return host.lower()  # an IPv6 address as a person writes it
    try:
        return (urlsplit(f"//{host or ''}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""
