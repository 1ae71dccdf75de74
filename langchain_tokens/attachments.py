"""What stands for a picture, a sound or a file in a text that is kept? Its kind, type and size; never its bytes.

Blocks are read by the names of their fields alone, in any provider's form of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ("is_attachment", "is_data", "placeholder", "without_data")

_KINDS: Final = {
    **dict.fromkeys(("image", "image_url", "input_image", "image_generation_call"), "image"),
    **dict.fromkeys(("audio", "input_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
    **dict.fromkeys(("file", "input_file", "document", "media", "container_upload"), "file"),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), "file"),
}
"""A block's type, or the key that stands for one → what it is."""
_TYPES: Final = ("mime_type", "mimeType", "media_type", "mediaType", "format")
_DATA: Final = frozenset({"data", "base64", "bytes", "file_data", "image_data", "b64_json", "result"})
_ADDRESSES: Final = ("url", "image_url", "uri", "file_uri", "fileUri", "file_url")
_IDS: Final = ("file_id", "fileId", "id")
_DEEPEST: Final = 4
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=_\r\n-]{200}")
"""How a text begins that is long, and is made of nothing else."""
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[\w.+-]*)*;base64,([A-Za-z0-9+/=_%-]*)")
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^?#\s]*", re.IGNORECASE)
_LONGEST_NAME: Final = 100


def is_attachment(block: Mapping[Any, Any]) -> bool:
    """Whether a block is no text but a picture, a sound or a file."""
    return _kind(block) is not None


def is_data(key: object, value: str) -> bool:
    """Whether a text in a block is base64, by its name and how it begins."""
    return key in _DATA and _BASE64.match(value) is not None


def placeholder(block: Any) -> str:
    """What stands for an attachment, or for bytes: `[image, image/png, 1234 bytes]`."""
    if isinstance(block, bytes | bytearray | memoryview):
        return f"[bytes, {len(block)} bytes]"
    kind = _kind(block) or "file"
    mime, size, where = _found(block, 0)
    if mime is not None and "/" in mime and kind == "file":
        family = mime.partition("/")[0].lower()
        kind = family if family in ("image", "audio", "video") else kind
    return f"[{', '.join(part for part in (kind, mime, size, where) if part)}]"


def without_data(text: str) -> str:
    """A text with what stands for them in the place of data URLs."""
    return _DATA_URL.sub(_of_url, text) if ";base64," in text else text


def _kind(block: Mapping[Any, Any]) -> str | None:
    kind = block.get("type")
    if isinstance(kind, str):
        return _KINDS.get(kind)
    return next((known for key, known in _KINDS.items() if isinstance(block.get(key), Mapping)), None)


def _of_url(found: re.Match[str]) -> str:
    mime = found[1] or "text/plain"
    family = mime.partition("/")[0]
    return f"[{family if family in ('image', 'audio', 'video') else 'file'}, {mime}, {_size(found[2])}]"


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4} bytes"


def _found(block: Any, depth: int) -> tuple[str | None, str | None, str | None]:
    """The type, the size and the address of an attachment, the outermost of each."""
    if not isinstance(block, Mapping) or depth > _DEEPEST:
        return None, None, None
    mime = next((_short(block[key]) for key in _TYPES if isinstance(block.get(key), str)), None)
    size = where = None
    for key, value in block.items():
        if isinstance(value, bytes | bytearray | memoryview):
            size = size or f"{len(value)} bytes"
        elif isinstance(value, str) and value[:5].lower() == "data:":
            found = _DATA_URL.match(value)
            mime, size = mime or (found and found[1]), size or (_size(found[2]) if found else None)
        elif isinstance(value, str) and key in _ADDRESSES and _ADDRESS.match(value):
            where = where or _address(value)
        elif isinstance(value, str) and key in _DATA:
            size = size or _size(value)
        elif isinstance(value, str) and key in _IDS:
            where = where or _short(value)
        elif isinstance(value, Mapping):
            inner = _found(value, depth + 1)
            mime, size, where = mime or inner[0], size or inner[1], where or inner[2]
    return mime, size, where


def _address(url: str) -> str:
    """Without what follows a question mark, which may be a signature."""
    found = _ADDRESS.match(url)
    return "" if found is None else f"at {found[0]}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"
