"""Files that are open: of one folder, since other threads of a test open and close others."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ("open_files",)


def open_files(folder: Path) -> list[Path]:
    """What this process has open of a folder, itself included."""
    found: list[Path] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(descriptor.readlink())
    return [file for file in found if folder in (file, file.parent)]
