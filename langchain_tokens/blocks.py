"""How is a block of code opened? With `with`, `async with`, or around every kind of function, generators included."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

__all__ = ("Block",)

Value = TypeVar("Value")
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Block(Generic[Value]):
    """A block of code that something is opened for, once at a time; as a decorator, anew for each call.

    Args:
        opening: makes what is entered.
        variables: what it sets. A generator has them while it runs, and who reads it has its own.

    """

    def __init__(
        self, opening: Callable[[], AbstractContextManager[Value]], variables: Sequence[ContextVar[Any]]
    ) -> None:
        self._opening, self._variables = opening, variables
        self._entered: AbstractContextManager[Value] | None = None

    def __enter__(self) -> Value:
        if self._entered is not None:
            raise RuntimeError("this block is open already; make another one for each")
        self._entered = manager = self._opening()
        try:
            return manager.__enter__()
        except BaseException:
            self._entered = None
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, self._entered = self._entered, None
        if manager is not None:
            manager.__exit__(kind, error, trace)

    async def __aenter__(self) -> Value:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[Given, Result]) -> Callable[Given, Result]:
        """Open a block of its own around each call; around a generator's from the first item to the last."""
        kinds: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
            (inspect.isasyncgenfunction, self._around_async_generator),
            (inspect.isgeneratorfunction, self._around_generator),
            (inspect.iscoroutinefunction, self._around_coroutine),
        )
        called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
        for is_kind, around in kinds:
            if is_kind(function) or is_kind(called):
                return cast("Callable[Given, Result]", around(function))
        return self._around_function(function)

    def _around_function(self, function: Callable[Given, Result]) -> Callable[Given, Result]:
        @functools.wraps(function)
        def opened(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            with self._opening():
                result = function(*args, **kwargs)
            return cast("Result", self._around_result(result))

        return opened

    def _around_result(self, result: Any) -> Any:
        """What a function hands over still has to run, where it is one that makes coroutines or generators."""
        for is_kind, around in (
            (inspect.iscoroutine, self._around_coroutine),
            (inspect.isgenerator, self._around_generator),
            (inspect.isasyncgen, self._around_async_generator),
        ):
            if is_kind(result):
                return around(lambda: result)()
        return result

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def opened(*args: Any, **kwargs: Any) -> Any:
            with self._opening():
                return await function(*args, **kwargs)

        return opened

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def opened(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps, manager = _Steps(self._variables), self._opening()
            steps.take(manager.__enter__)
            items = function(*args, **kwargs)
            step = functools.partial(items.send, None)
            try:
                while True:
                    try:
                        item = steps.take(step)
                    except StopIteration as end:
                        result = end.value
                        break
                    try:
                        step = functools.partial(items.send, (yield item))
                    except GeneratorExit:
                        steps.take(items.close)
                        raise
                    except BaseException as thrown:  # noqa: BLE001  # whoever reads it may throw anything into it
                        step = functools.partial(items.throw, thrown)
            except BaseException as error:
                steps.leave(manager, error)
                raise
            steps.leave(manager, None)
            return result

        return opened

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def opened(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            steps, manager = _Steps(self._variables), self._opening()
            steps.take(manager.__enter__)
            items = function(*args, **kwargs)
            step = functools.partial(items.asend, None)
            try:
                while True:
                    try:
                        item = await steps.wait_for(step)
                    except StopAsyncIteration:
                        break
                    try:
                        step = functools.partial(items.asend, (yield item))
                    except GeneratorExit:
                        await steps.wait_for(items.aclose)
                        raise
                    except BaseException as thrown:  # noqa: BLE001  # whoever reads it may throw anything into it
                        step = functools.partial(items.athrow, thrown)
            except BaseException as error:
                steps.leave(manager, error)
                raise
            steps.leave(manager, None)

        return opened


class _Steps:
    """The variables of a generator: set while it runs, and as it left them when it goes on, in whatever context."""

    def __init__(self, variables: Sequence[ContextVar[Any]]) -> None:
        self._variables = variables
        self._held: list[Any] | None = None
        """Their values while it does not run; None before it has."""

    def take(self, step: Callable[[], Result]) -> Result:
        """Let it run to its next item."""
        around = self._resume()
        try:
            return step()
        finally:
            self._suspend(around)

    async def wait_for(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """The same of an asynchronous one."""
        around = self._resume()
        try:
            return await step()
        finally:
            self._suspend(around)

    def leave(self, manager: AbstractContextManager[Any], error: BaseException | None) -> None:
        """Close the block: the generator has ended."""
        trace = None if error is None else error.__traceback__
        self.take(lambda: manager.__exit__(None if error is None else type(error), error, trace))

    def _resume(self) -> list[Any]:
        around = [variable.get() for variable in self._variables]
        self._set(around if self._held is None else self._held)
        return around

    def _suspend(self, around: list[Any]) -> None:
        self._held = [variable.get() for variable in self._variables]
        self._set(around)

    def _set(self, values: list[Any]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.set(value)
