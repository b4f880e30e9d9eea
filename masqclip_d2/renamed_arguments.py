"""Refusal of the former names of keyword arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class RenamedArgumentError(TypeError):
    """An argument was passed by its former name; the message has the new one."""


def renamed_arguments(**new_names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: an argument passed by its former name is refused with the new one.

    Args:
        new_names: former name=new name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in new_names.keys() & kwargs:
                raise RenamedArgumentError(
                    f"{function.__qualname__}: the argument {old!r} is now called {new_names[old]!r}."
                )
            return function(*args, **kwargs)

        return checked

    return decorate
