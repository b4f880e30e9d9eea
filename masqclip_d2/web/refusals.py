"""Requests that are refused or fail: one sentence each, and a status of HTTP."""

from __future__ import annotations

import logging

from ..error_report import is_user_error, sentence

RETRY_AFTER = 5
"""Seconds after which a client may try again when the queue is full."""

logger = logging.getLogger(__name__)


class Refusal(ValueError):
    """A request that is refused.

    Args:
        message: one sentence for the client.
        status: of HTTP.
    """

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def as_refusal(error: BaseException) -> Refusal:
    """What a client is told about an error: its sentence if the request caused it; of others no details, which are
    logged."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        logger.warning("Out of memory: %s", sentence(error))
        return Refusal("There is not enough memory for this request; try a smaller image or fewer masks.", 503)
    if is_user_error(error) and not isinstance(error, (OSError, ImportError)):
        return Refusal(sentence(error))
    logger.error("A request failed.", exc_info=error)
    return Refusal("The model failed on this request; the log of the server has the reason.", 500)
