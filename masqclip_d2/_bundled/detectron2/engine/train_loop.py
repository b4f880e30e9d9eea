"""The training loop, its hooks, and the two standard training steps."""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage
from detectron2.utils.logger import log_first_n
from torch import Tensor, nn

_logger = logging.getLogger(__name__)


class HookBase:
    """Base class of hooks around training steps. `self.trainer` is set when the hook is registered.

    Per run: before_train; per iteration before_step, (forward, backward) after_backward, (optimizer) after_step; then
    after_train, even if training failed.
    """

    trainer: Any = None  # a weak reference to the trainer, which owns its hooks

    def before_train(self) -> None:
        pass

    def after_train(self) -> None:
        pass

    def before_step(self) -> None:
        pass

    def after_backward(self) -> None:
        pass

    def after_step(self) -> None:
        pass

    def state_dict(self) -> dict:
        """State for checkpoints; a hook with state also has `load_state_dict`."""
        return {}


class TrainerBase:
    """A loop over `run_step` with hooks.

    Attributes:
        iter: the current iteration; equal to `max_iter` once training has finished.
        start_iter, max_iter: the loop runs from the first to the second, which is excluded.
        storage: the EventStorage of the run.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter: int = 0
        self.start_iter: int = 0
        self.max_iter: int
        self.storage: EventStorage

    def register_hooks(self, hooks: Sequence[HookBase | None]) -> None:
        """Add hooks, to be called in this order; None is skipped."""
        for hook in hooks:
            if hook is not None:
                hook.trainer = weakref.proxy(self)
                self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations start_iter to max_iter - 1. Exceptions are logged and raised again."""
        _logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except Exception:
                _logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def before_step(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict:
        """{"iteration", "hooks": class name -> state of the hooks that have one}."""
        state: dict[str, Any] = {"iteration": self.iter}
        hooks = {type(hook).__qualname__: hook.state_dict() for hook in self._hooks}
        hooks = {name: hook_state for name, hook_state in hooks.items() if hook_state}
        if hooks:
            state["hooks"] = hooks
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        self.iter = state_dict["iteration"]
        for name, hook_state in state_dict.get("hooks", {}).items():
            hook = next((hook for hook in self._hooks if type(hook).__qualname__ == name), None)
            if hook is None:
                _logger.warning("The checkpoint has the state of a hook %s, which this run does not use.", name)
            else:
                hook.load_state_dict(hook_state)  # pyright: ignore[reportAttributeAccessIssue]  (hooks with state)


class SimpleTrainer(TrainerBase):
    """One optimizer, one data loader, a model that returns its loss or a dict of losses, one step per batch.

    Args:
        model: in training mode; called with the items of `data_loader`.
        data_loader: infinite, or at least as long as the training.
    """

    def __init__(self, model: nn.Module, data_loader: Iterable, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self._batches: Iterator | None = None

    def run_step(self) -> None:
        """One batch: forward, backward, `after_backward` hooks, losses into the event storage, optimizer.

        Raises:
            FloatingPointError: the sum of the losses is not finite; the weights are not updated.
        """
        assert self.model.training, "The model is in eval mode; call train() again after an evaluation."
        batch, data_time = self._next_batch()
        losses = self._forward(batch)
        self.optimizer.zero_grad()
        self._backward(sum(losses.values()))  # pyright: ignore[reportArgumentType]  (at least one loss)
        self.after_backward()
        self._write_metrics(losses, data_time)
        self._optimizer_step()

    def _next_batch(self) -> tuple[object, float]:
        """A batch, and the seconds spent waiting for it."""
        start = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self.data_loader)
        return next(self._batches), time.perf_counter() - start

    def _forward(self, batch: object) -> dict[str, Tensor]:
        losses = self.model(batch)
        return {"total_loss": losses} if isinstance(losses, Tensor) else losses

    def _backward(self, total_loss: Tensor) -> None:
        total_loss.backward()

    def _optimizer_step(self) -> None:
        self.optimizer.step()

    def _write_metrics(self, losses: dict[str, Tensor], data_time: float) -> None:
        """Put the losses, averaged over processes, and the longest wait for data into the storage of rank 0."""
        # One copy to the CPU for all losses: each copy synchronizes with the device.
        values = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()]).tolist()
        metrics = dict(zip(losses, values, strict=True))
        get_event_storage().put_scalar("rank_data_time", data_time)
        gathered = comm.gather((metrics, data_time))
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        storage.put_scalar("data_time", max(seconds for _, seconds in gathered))
        means = {name: sum(each[name] for each, _ in gathered) / len(gathered) for name in metrics}
        total_loss = sum(means.values())
        if not math.isfinite(total_loss):
            raise FloatingPointError(
                f"The loss became infinite or NaN at iteration {self.iter}: {means}. Lower SOLVER.BASE_LR, or check "
                "the annotations of the batch."
            )
        storage.put_scalar("total_loss", total_loss)
        if len(means) > 1:
            for name, value in means.items():
                storage.put_scalar(name, value)

    def state_dict(self) -> dict:
        state = super().state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """`SimpleTrainer` in mixed precision: float16 with a scaled loss on CUDA, bfloat16 on other devices.

    Args:
        grad_scaler: scales the loss; None creates one if required.
        precision: dtype of the autocast regions; float16 is replaced by bfloat16 on other devices than CUDA.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self._device_type = next(model.parameters()).device.type
        # Detectron2 trains in float16 with a scaled loss, which only CUDA supports.
        if precision == torch.float16 and self._device_type != "cuda":
            log_first_n(
                logging.WARNING, f"Mixed precision on {self._device_type}: bfloat16 is used instead of float16.", 1
            )
            precision = torch.bfloat16
        self.precision = precision
        self.grad_scaler = grad_scaler or torch.amp.GradScaler(self._device_type, enabled=precision == torch.float16)

    def _forward(self, batch: object) -> dict[str, Tensor]:
        with torch.autocast(self._device_type, dtype=self.precision):
            return super()._forward(batch)

    def _backward(self, total_loss: Tensor) -> None:
        self.grad_scaler.scale(total_loss).backward()

    def _optimizer_step(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict:
        state = super().state_dict()
        if self.grad_scaler.is_enabled():
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        if self.grad_scaler.is_enabled() and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
