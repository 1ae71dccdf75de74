"""Which model was asked for? `--model provider:name` by `init_chat_model`, and one line where it cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Callable

from langchain_core.language_models import BaseChatModel

from langchain_tokens import TokensError

__all__ = ("ModelError", "one_line", "real_model", "told")


class ModelError(Exception):
    """Raised when a model cannot be used; its text is the one line to print."""


def real_model(name: str) -> BaseChatModel:
    """Return a provider's chat model.

    Arguments:
        name: As `init_chat_model` takes it, such as `openai:gpt-5-mini`.

    Raises:
        ModelError: The name is unknown, or a package or a key is missing.

    """
    try:
        from langchain.chat_models import init_chat_model

        model: BaseChatModel = init_chat_model(name)
    except ImportError as error:
        provider = name.split(":", 1)[0].replace("_", "-")
        install = f"pip install langchain langchain-{provider} (make demo: .venv/bin/python -m pip install ...)"
        raise ModelError(f"{one_line(f'model {name}', error)}; try: {install}") from error
    except Exception as error:  # each provider's package has its own error for a missing key
        raise ModelError(one_line(f"model {name}", error)) from error
    return model


def one_line(subject: str, error: Exception) -> str:
    """Return what went wrong with something in one line."""
    text = str(error).strip() or type(error).__name__
    return f"{subject}: {text.splitlines()[0]}"


def told(program: str, models: str | None, work: Callable[[], object]) -> int:
    """Do a program's work and return its exit code: 0 done, 2 it could not be, which is one line on stderr.

    Arguments:
        program: Its name.
        models: Those that were asked for; None where scripts answer, whose errors are the program's own.
        work: What it does.

    """
    try:
        work()
    except (ModelError, TokensError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if models is None:
            raise
        # A provider's refusal, for example of a missing or wrong key that only the first call brings up.
        print(f"{program}: {one_line(f'model {models}', error)}", file=sys.stderr)
        return 2
    return 0
