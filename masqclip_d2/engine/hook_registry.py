"""Hooks that a configuration adds to a training, such as loggers (key HOOKS)."""

from __future__ import annotations

from detectron2.engine import HookBase
from detectron2.utils.registry import Registry

from ..user_code import unknown_name

HOOK_REGISTRY = Registry("HOOK")
HOOK_REGISTRY.__doc__ = "Subclasses of Detectron2's `HookBase`, built as `cls(cfg)`; the key HOOKS names them."


def build_registered_hooks(cfg) -> list[HookBase]:
    """The hooks of the key HOOKS, in its order.

    Raises:
        ValueError: a name is not registered, or what it stands for does not build a `HookBase`.
    """
    hooks = []
    for name in cfg.HOOKS:
        if name not in HOOK_REGISTRY:
            raise unknown_name("HOOKS", name, (registered for registered, _ in HOOK_REGISTRY))
        hook = HOOK_REGISTRY.get(name)(cfg)
        if not isinstance(hook, HookBase):
            raise ValueError(f"HOOKS has {name!r}, which is {type(hook).__name__}, not a HookBase of Detectron2.")
        hooks.append(hook)
    return hooks
