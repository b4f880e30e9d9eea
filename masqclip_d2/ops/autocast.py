"""Autocast state of any device; the meta device, which computes shapes only, has none."""

from __future__ import annotations

import contextlib

import torch


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Dtype of matrix products under autocast on `device`; None if autocast is off."""
    if not _has_autocast(device) or not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Context that disables autocast on `device`."""
    if not _has_autocast(device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def _has_autocast(device: torch.device) -> bool:
    # Not `torch.amp.is_autocast_available`, at which torch.compile breaks the graph (torch 2.11).
    return device.type != "meta"
