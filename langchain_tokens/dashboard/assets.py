"""Which files is the page made of? Those of this package, compressed once, and never from anywhere else."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

__all__ = ("Assets",)

_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_LEVEL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    body: bytes
    compressed: bytes
    tag: str
    content_type: str


class Assets:
    """The page's files, by their names below `static/`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = dict(_walk("", files(__package__) / "static"))
        self._read: dict[str, _Asset] = {}

    def serve(self, name: str, request: Request) -> Response:
        """A file, or only `304 Not Modified`."""
        asset = self._asset(name)
        headers = {"ETag": asset.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if asset.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = asset.content_type
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.compressed, headers={**headers, "Content-Encoding": "gzip"})
        return Response(asset.body, headers=headers)

    def _asset(self, name: str) -> _Asset:
        place = self._places.get(name)
        if place is None:
            raise HTTPException(404, f"there is no file {name!r}")
        with self._lock:
            if name not in self._read:
                self._read[name] = _make(place)
            return self._read[name]


def _walk(prefix: str, folder: Traversable) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for place in folder.iterdir():
        found += _walk(f"{prefix}{place.name}/", place) if place.is_dir() else [(prefix + place.name, place)]
    return found


def _make(place: Traversable) -> _Asset:
    body = place.read_bytes()
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    kind = _TYPES.get(place.name.rpartition(".")[2], "application/octet-stream")
    return _Asset(body=body, compressed=gzip.compress(body, _LEVEL, mtime=0), tag=tag, content_type=kind)
