"""What an answer to an odd input is."""

import contextlib
from collections.abc import Iterator

from masqclip_d2.error_report import error_report, is_user_error

LONGEST_MESSAGE = 10_100


@contextlib.contextmanager
def answered(*others: type[Exception]) -> Iterator[None]:
    """Accept the errors that a command reports in one sentence, and `others`; every other error fails the test."""
    try:
        yield
    except Exception as error:
        require_answer(error, *others)


def require_answer(error: Exception, *others: type[Exception]) -> None:
    """Raise the error unless a command reports it in one sentence, or it is one of `others`."""
    if not (is_user_error(error) or isinstance(error, others)):
        raise error
    report = error_report(error)
    assert len(report) <= LONGEST_MESSAGE, f"{len(report)} characters: {report[:300]}"
    assert report.rstrip("\n").isprintable(), repr(report)
    assert len(report) > 20, f"{error!r} says nothing"
