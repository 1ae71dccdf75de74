"""Are the libraries that do the statistics there? scipy and statsmodels, asked for only by what needs them."""

from __future__ import annotations

from langchain_tokens.errors import MissingExtraError

__all__ = ("require_analytics",)


def require_analytics(what: str) -> None:
    """Make sure that a report can be made; both packages load their parts only when those are used.

    Raises:
        MissingExtraError: without the extra `analytics`.

    """
    try:
        import scipy  # noqa: F401  # only whether it is there
        import statsmodels  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs scipy and statsmodels: pip install 'langchain_tokens[analytics]'"
        ) from error
