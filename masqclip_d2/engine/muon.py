"""Muon for the matrices of transformer blocks, AdamW for everything else (SOLVER.OPTIMIZER "MUON").

Muon (Jordan et al., 2024) orthogonalizes every update of a matrix. The tiny CLIP of Shapes trains from scratch in less
than half of the steps of AdamW (docs/shapes_training.md). The update rule is torch's own (torch >= 2.9).
"""

from __future__ import annotations

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and AdamW behind the interface of one optimizer; both share its groups and state.

    Args:
        groups: parameter groups, each with "muon" (bool): True: Muon updates the group, which holds matrices only.
        lr: learning rate of groups without one.

    Raises:
        RuntimeError: this torch has no Muon.
    """

    def __init__(self, groups: list[dict], lr: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise RuntimeError(
                f"SOLVER.OPTIMIZER MUON needs torch 2.9 or newer, found {torch.__version__}; "
                "update torch, or set SOLVER.OPTIMIZER ADAMW."
            )
        super().__init__(groups, {"lr": lr})
        self._muon = torch.optim.Muon(self._groups_of(muon=True), lr=lr)
        self._adamw = torch.optim.AdamW(self._groups_of(muon=False), lr=lr, fused=True)
        self._share()

    def _groups_of(self, muon: bool) -> list[dict]:
        return [group for group in self.param_groups if group["muon"] == muon]

    def _share(self) -> None:
        """Make both optimizers use the groups and state of this one; again after loading, which replaces them."""
        for optimizer, muon in ((self._muon, True), (self._adamw, False)):
            optimizer.param_groups = self._groups_of(muon)
            optimizer.state = self.state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure=None):  # pyright: ignore[reportIncompatibleMethodOverride]  # torch overloads it
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()
        self._adamw.step()
        return loss
