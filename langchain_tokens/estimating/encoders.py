"""How many tokens is a text? tiktoken's encoders, read from files that are there already, or else its characters.

Nothing in here reaches the network: tiktoken's own loader downloads a file that is missing or damaged, and may hang in
that, so it is not used. The file is looked for where tiktoken keeps it, checked, and handed to `tiktoken.Encoding`.

Without a file a text counts a token for each four characters. On English answers that is about a tenth too many (4.4 in
the median of recorded ones), on source code and JSON a third too few. A character of Chinese, Japanese or Korean and an
emoji count 0.7 each (measured with o200k_base: Chinese 0.63, Japanese 0.72, Korean 0.52); scripts between stay at a
quarter (Cyrillic 0.23, Arabic 0.22, Greek 0.30, but Thai 0.42).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from langchain_tokens.trouble import Warnings

if TYPE_CHECKING:
    import tiktoken

__all__ = (
    "BY_CHARACTERS",
    "FILES",
    "Counted",
    "Encoders",
    "by_characters",
    "file_name",
    "load_modules",
    "openai_encoding",
)

BY_CHARACTERS: Final = "characters/4"
_PER_TOKEN: Final = 4
_PER_WIDE: Final = 0.7
_WIDE: Final = re.compile("[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U0001f000-\U0010ffff]+")

_CHUNK: Final = 8_192  # characters; tiktoken is slow, and was quadratic, on long runs without a break
_MOST: Final = 1_000_000  # characters encoded for one estimate; more is sampled evenly, which bounds its time

_BLOBS: Final = "https://openaipublic.blob.core.windows.net/encodings/"
_GPT2: Final = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K: Final = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
_O200K: Final = "|".join(  # noqa: FLY002  # one line for each alternative
    (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A file of tiktoken's and how text is split for it; a test compares both with tiktoken's own."""

    checksum: str
    """SHA-256 of the file."""
    pattern: str


FILES: Final = {
    "o200k_base": Vocabulary(
        checksum="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", pattern=_O200K
    ),
    "cl100k_base": Vocabulary(
        checksum="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", pattern=_CL100K
    ),
    "p50k_base": Vocabulary(checksum="94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069", pattern=_GPT2),
    "r50k_base": Vocabulary(checksum="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930", pattern=_GPT2),
}
_SAME_FILE: Final = {"o200k_harmony": "o200k_base", "p50k_edit": "p50k_base", "gpt2": "r50k_base"}
_STAND_INS: Final = ("o200k_base", "cl100k_base")  # nearer to any encoding than characters are
_NEWEST: Final = "o200k_base"


class Counted(NamedTuple):
    """The tokens of some texts, how they were counted, and whether only a sample was."""

    tokens: float
    method: str
    sampled: bool = False


def load_modules() -> None:
    """Load tiktoken itself, which is quick; its tables, which are not, wait for the first text."""
    import tiktoken_ext.openai_public  # noqa: F401  # where the model's tables will look


class Encoders:
    """tiktoken's encoders, each loaded when first asked for and kept; safe to use from several threads.

    Loading o200k_base takes about a quarter of a second and 80 MB of memory.

    Args:
        warnings: Is told once of an encoder that cannot be had, with what to do about it.

    """

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self._loaded: dict[str, tiktoken.Encoding | None] = {}
        self._lock = threading.RLock()

    def count(self, texts: Sequence[str], encoding: str) -> Counted:
        """Count the tokens of texts.

        Args:
            texts: Encoded one by one; what looks like a special token counts as the text it is.
            encoding: The name of an encoding of tiktoken's.

        Returns:
            The tokens, and the encoding that was used: another one, or characters, if that one's file is not there.

        """
        for name in (encoding, *_STAND_INS):
            encoder = self._encoder(_SAME_FILE.get(name, name))
            if encoder is not None:
                return _encoded(encoder, texts, name)
        return Counted(tokens=by_characters(texts), method=BY_CHARACTERS)

    def load(self, encoding: str) -> None:
        """Load an encoding, or one that stands in for it, so that `count_loaded` has it."""
        self.count(("",), encoding)

    def count_loaded(self, texts: Sequence[str], encoding: str) -> Counted | None:
        """Count as `count` does, with what is loaded already; None where that is nothing."""
        for name in (encoding, *_STAND_INS):
            encoder = self._loaded.get(_SAME_FILE.get(name, name))
            if encoder is not None:
                return _encoded(encoder, texts, name)
        return None

    def _encoder(self, name: str) -> tiktoken.Encoding | None:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: str) -> tiktoken.Encoding | None:
        vocabulary = FILES.get(name)
        if vocabulary is None:
            return None
        try:
            import tiktoken.registry

            shared = tiktoken.registry.ENCODINGS.get(name)  # the host's own, where it has one already
            return shared if shared is not None else _built(name, vocabulary)
        except (AttributeError, ImportError, OSError, ValueError) as error:
            message = (
                f"Tokens are estimated without tiktoken's encoding {name}: for better estimates set TIKTOKEN_CACHE_DIR "
                f"to a folder that holds the file {file_name(name)} (a copy of {_url(name)})"
            )
            self._warnings.once("tokenizer", message, error)
            return None


def openai_encoding(model: str) -> str:
    """Name the encoding of one of OpenAI's models; the newest one for a model that tiktoken does not know."""
    base = model.split(":", 2)[1] if model.startswith("ft:") else model
    try:
        from tiktoken.model import encoding_name_for_model

        return encoding_name_for_model(base)
    except (ImportError, KeyError):
        return _NEWEST


def file_name(encoding: str) -> str:
    """Name the file that tiktoken keeps an encoding in."""
    return hashlib.sha1(_url(encoding).encode(), usedforsecurity=False).hexdigest()


def by_characters(texts: Sequence[str]) -> int:
    """Estimate the tokens of texts by their characters alone."""
    total = sum(map(len, texts))
    wide = sum(len(run) for text in texts if not text.isascii() for run in _WIDE.findall(text))
    return ceil((total - wide) / _PER_TOKEN + wide * _PER_WIDE)


def _url(encoding: str) -> str:
    return f"{_BLOBS}{encoding}.tiktoken"


def _folder() -> Path:
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            if not os.environ[variable]:
                raise FileNotFoundError(f"{variable} is empty, which turns tiktoken's cache off")
            return Path(os.environ[variable])
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _built(name: str, vocabulary: Vocabulary) -> tiktoken.Encoding:
    import tiktoken

    content = (_folder() / file_name(name)).read_bytes()
    if hashlib.sha256(content).hexdigest() != vocabulary.checksum:
        raise ValueError("the file that is there is damaged")
    lines = (line.split() for line in content.splitlines() if line)
    ranks = {b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding(name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={})


def _encoded(encoder: tiktoken.Encoding, texts: Sequence[str], name: str) -> Counted:
    total = sum(map(len, texts))
    step = ceil(total / _MOST) if total else 1
    tokens = characters = 0
    for number, chunk in enumerate(chunk for text in texts for chunk in _chunks(text)):
        if number % step == 0:
            tokens += len(encoder.encode_ordinary(chunk))
            characters += len(chunk)
    if step == 1:
        return Counted(tokens=tokens, method=name)
    return Counted(tokens=tokens * total / characters, method=name, sampled=True)


def _chunks(text: str) -> Iterator[str]:
    """Cut a text into bounded pieces, where possible before a blank: a cut there changes no count."""
    start = 0
    while len(text) - start > _CHUNK:
        end = start + _CHUNK
        cut = text.rfind(" ", start + _CHUNK // 2, end)
        end = cut if cut > start else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
