"""`CfgNode`, `get_cfg` and `configurable`."""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any, overload

from detectron2.utils.file_io import PathManager
from fvcore.common.config import CfgNode as _FvcoreCfgNode


class CfgNode(_FvcoreCfgNode):
    """fvcore's node (yacs with `_BASE_`) that opens files with `PathManager` and checks their `VERSION`."""

    @classmethod
    def _open_cfg(cls, filename: str):
        return PathManager.open(filename, "r")

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = False) -> None:
        """Merge a YAML file, after its `_BASE_` files.

        Args:
            cfg_filename: path of the file.
            allow_unsafe: must stay False: tags that run code are refused.

        Raises:
            AssertionError: there is no such file.
            KeyError: the file has an unknown key.
            ValueError: a value has the wrong type, the file another VERSION, or `allow_unsafe` is True.
        """
        if allow_unsafe:
            raise ValueError(f"Unsafe YAML is not supported; got allow_unsafe=True for {cfg_filename}.")
        assert PathManager.isfile(cfg_filename), f"Config file '{cfg_filename}' does not exist."
        loaded = self.load_yaml_with_base(cfg_filename)
        version = loaded.get("VERSION")
        if version is None and "VERSION" in self:
            logging.getLogger(__name__).warning(
                "Config %s has no VERSION; assuming version %s.", os.path.abspath(cfg_filename), self.VERSION
            )
        elif version != self.get("VERSION"):
            raise ValueError(f"Config {cfg_filename} has VERSION {version}; expected {self.get('VERSION')}.")
        self.merge_from_other_cfg(type(self)(loaded))


def get_cfg() -> CfgNode:
    """A fresh copy of the default tree, not frozen."""
    from .defaults import _C

    return _C.clone()


@overload
def configurable(init_func: Callable[..., Any]) -> Callable[..., Any]: ...


@overload
def configurable(*, from_config: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def configurable(init_func: Callable | None = None, *, from_config: Callable | None = None) -> Callable:
    """Make a class or function callable with a config or with explicit arguments.

    On `__init__`: the class has a classmethod `from_config(cls, cfg, ...)` that returns the keyword arguments of
    `__init__`; `A(cfg)`, `A(cfg, b=3)` and `A(a=1, b=2)` then all work. On a function:
    `@configurable(from_config=lambda cfg, ...: {...})`.

    `from_config` is used if the first positional argument or the keyword argument `cfg` is a config. It gets the
    arguments that it accepts; the others override its result.
    """
    if init_func is not None:
        assert inspect.isfunction(init_func) and init_func.__name__ == "__init__" and from_config is None, (
            "Without arguments, @configurable goes on an __init__; on a function write @configurable(from_config=...)."
        )
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    assert inspect.isfunction(from_config), f"from_config must be a function; got {from_config!r}."
    return functools.partial(_configurable_function, from_config)


def _configurable_init(init: Callable) -> Callable:
    @functools.wraps(init)
    def wrapped(self, *args, **kwargs):
        cls = type(self)
        if not hasattr(cls, "from_config"):
            raise AttributeError(f"{cls.__name__} has a @configurable __init__, but no classmethod 'from_config'.")
        if not inspect.ismethod(cls.from_config):
            raise TypeError(f"{cls.__name__}.from_config must be a classmethod.")
        if _called_with_cfg(args, kwargs):
            init(self, **_arguments_from_config(cls.from_config, args, kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _configurable_function(from_config: Callable, function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if _called_with_cfg(args, kwargs):
            return function(**_arguments_from_config(from_config, args, kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config  # pyright: ignore[reportAttributeAccessIssue]  (functions take attributes)
    return wrapped


def _called_with_cfg(args: tuple, kwargs: dict[str, Any]) -> bool:
    return isinstance(kwargs.get("cfg"), _FvcoreCfgNode) or (bool(args) and isinstance(args[0], _FvcoreCfgNode))


def _arguments_from_config(from_config: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"The first parameter of {from_config.__qualname__} must be 'cfg'; got {list(parameters)}.")
    takes_all = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    overrides = {} if takes_all else {name: value for name, value in kwargs.items() if name not in parameters}
    accepted = {name: value for name, value in kwargs.items() if name not in overrides}
    return {**from_config(*args, **accepted), **overrides}
