"""A convolution with normalization and activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """torch's Conv2d, then `norm`, then `activation`; names in the state dict: weight, bias, norm.*.

    Args:
        norm: a module for the output channels, or None.
        activation: a callable on tensors, or None. Prefer functions over modules: modules add names to the state dict.
    """

    def __init__(
        self,
        *args,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  (Detectron2's)
        x = super().forward(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x
