"""Do something in the middle of other code, at each point where Python runs the handler of a signal."""

from __future__ import annotations

import dis
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

__all__ = ("Point", "Points", "interrupting")

Point = tuple[str, int, int]
"""A function's name, the place in its code, and for the how-manieth time that is come to."""


class Points:
    """The points that a thread comes to, and what is done at one of them."""

    def __init__(self, files: tuple[str, ...], at: Point | None, act: Callable[[], None]) -> None:
        self.seen: list[Point] = []
        self.is_met = False
        self._files, self._at, self._act = files, at, act
        self._counts: Counter[tuple[str, int]] = Counter()

    def enter(self, frame: FrameType, event: str, _: Any) -> Any:
        """Follow what runs in the files, and of that only what has the point; and nothing else, which takes long."""
        code = frame.f_code
        if not code.co_filename.endswith(self._files) or (self._at is not None and _name(code) != self._at[0]):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and frame.f_lasti in _interruptible(frame.f_code):
            place = (_name(frame.f_code), frame.f_lasti)
            self._counts[place] += 1
            point = (*place, self._counts[place])
            self.seen.append(point)
            if point == self._at:
                self.is_met = True
                sys.settrace(None)
                self._act()
                return None
        return self._step


@contextmanager
def interrupting(
    files: tuple[str, ...], at: Point | None = None, act: Callable[[], None] = lambda: None
) -> Iterator[Points]:
    """Act as a signal's handler would, in this thread, at one point of those files, which are named by their ends."""
    points, before = Points(files, at, act), sys.gettrace()
    sys.settrace(points.enter)
    try:
        yield points
    finally:
        sys.settrace(before)


def _name(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"


@functools.cache
def _interruptible(code: CodeType) -> frozenset[int]:
    """Python looks for signals where a function begins, after each call, and where a loop begins anew."""
    steps = list(dis.get_instructions(code))
    after = {
        step.offset for before, step in pairwise(steps) if before.opname == "RESUME" or before.opname.startswith("CALL")
    }
    return frozenset(after | {step.argval for step in steps if "JUMP_BACKWARD" in step.opname})
