"""SimpleTrainer, AMPTrainer and the hooks."""

from __future__ import annotations

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, hooks
from detectron2.utils.events import EventWriter
from torch import nn

from masqclip_d2 import detectron2_backend


class LossModel(nn.Module):
    """Two losses of one weight, so that gradients can be computed by hand: d/dw (w x + 2 w x) = 3 x."""

    def __init__(self, calls=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = calls if calls is not None else []

    def forward(self, batch):
        self.calls.append("forward")
        return {"loss_a": (self.weight * batch).sum(), "loss_b": (2 * self.weight * batch).sum()}


class Recorder(HookBase):
    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def _record(self, what):
        self.calls.append(f"{self.name}.{what}@{self.trainer.iter}")

    def before_train(self):
        self._record("before_train")

    def after_train(self):
        self._record("after_train")

    def before_step(self):
        self._record("before_step")

    def after_backward(self):
        self._record("after_backward")

    def after_step(self):
        self._record("after_step")


def simple_trainer(batches, model=None, lr=0.1, cls=SimpleTrainer):
    model = model or LossModel()
    return cls(model, batches, torch.optim.SGD(model.parameters(), lr=lr))


def test_order_of_calls():
    calls = []
    trainer = simple_trainer([torch.ones(1)] * 2, LossModel(calls))
    trainer.register_hooks([Recorder("a", calls), None, Recorder("b", calls)])
    trainer.train(0, 2)
    step = ["a.before_step", "b.before_step", "forward", "a.after_backward", "b.after_backward"]
    step += ["a.after_step", "b.after_step"]
    expected = ["a.before_train@0", "b.before_train@0"]
    for iteration in range(2):
        expected += [name if name == "forward" else f"{name}@{iteration}" for name in step]
    expected += ["a.after_train@2", "b.after_train@2"]
    assert calls == expected
    assert trainer.iter == 2 and trainer.start_iter == 0 and trainer.max_iter == 2


def test_one_step_by_hand():
    trainer = simple_trainer([torch.tensor([2.0])])
    trainer.train(0, 1)
    assert trainer.model.weight.item() == pytest.approx(1 - 0.1 * 3 * 2)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert latest["loss_a"] == 2.0 and latest["loss_b"] == 4.0 and latest["total_loss"] == 6.0
    assert latest["data_time"] == latest["rank_data_time"] >= 0


def test_a_single_tensor_is_the_total_loss():
    class TensorModel(LossModel):
        def forward(self, batch):
            return (self.weight * batch).sum()

    trainer = simple_trainer([torch.tensor([2.0])], TensorModel())
    trainer.train(0, 1)
    assert trainer.storage.latest()["total_loss"] == (2.0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_before_the_weights_change(bad):
    calls = []
    trainer = simple_trainer([torch.ones(1), torch.tensor([bad])])
    trainer.register_hooks([Recorder("a", calls)])
    with pytest.raises(FloatingPointError) as caught:
        trainer.train(10, 20)
    assert "11" in str(caught.value) and "loss_a" in str(caught.value)
    assert trainer.model.weight.item() == pytest.approx(0.7)
    assert calls[-1] == "a.after_train@11"  # runs despite the exception


def test_gradients_start_from_zero_each_step():
    trainer = simple_trainer([torch.ones(1)] * 3)
    trainer.train(0, 3)
    assert trainer.model.weight.item() == pytest.approx(1 - 3 * 0.3)


def test_eval_mode_is_an_error():
    trainer = simple_trainer([torch.ones(1)])
    trainer.model.eval()
    with pytest.raises(AssertionError):
        trainer.train(0, 1)


def test_state_of_trainer_and_hooks():
    class Counter(HookBase):
        count = 0

        def after_step(self):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    trainer = simple_trainer([torch.ones(1)] * 4)
    trainer.register_hooks([Counter(), Recorder("a", [])])
    trainer.train(0, 4)
    state = trainer.state_dict()
    assert set(state) == {"iteration", "hooks", "optimizer"}
    assert state["iteration"] == 4 and list(state["hooks"].values()) == [{"count": 4}]
    counter = Counter()
    other = simple_trainer([], lr=0.9)
    other.register_hooks([counter])
    other.load_state_dict(state)
    assert other.iter == 4 and counter.count == 4 and other.optimizer.param_groups[0]["lr"] == 0.1


class Writer(EventWriter):
    def __init__(self):
        self.calls = []

    def write(self):
        self.calls.append("write")

    def close(self):
        self.calls.append("close")


def test_periodic_writer_writes_at_the_period_at_the_end_and_after_training():
    writer = Writer()
    trainer = simple_trainer([torch.ones(1)] * 5)
    trainer.register_hooks([hooks.PeriodicWriter([writer], period=2)])
    trainer.train(0, 5)
    assert writer.calls == ["write"] * 3 + ["write", "close"]  # iterations 1, 3, 4; then the end


@pytest.mark.parametrize(
    ("period", "expected"),
    [(2, [1, 3, 6]), (3, [2, 6]), (0, [6])],  # never twice at the end
)
def test_eval_hook(period, expected):
    trainer = simple_trainer([torch.ones(1)] * 6)
    seen = []

    def evaluate():
        seen.append(trainer.iter)
        return {"task": {"AP": 1, "AP-cat": float("nan")}, "flat": torch.tensor(2.0)}

    trainer.register_hooks([hooks.EvalHook(period, evaluate)])
    trainer.train(0, 6)
    assert seen == expected
    latest = trainer.storage.latest()
    assert latest["task/AP"] == (1.0, 6) and latest["flat"] == (2.0, 6) and "task/AP-cat" in latest


def test_eval_hook_after_a_crash_and_with_a_string_as_metric():
    trainer = simple_trainer([torch.ones(1)])
    seen = []
    trainer.register_hooks([hooks.EvalHook(0, lambda: seen.append(1))])
    with pytest.raises(StopIteration):
        trainer.train(0, 5)
    assert seen == []
    trainer = simple_trainer([torch.ones(1)])
    trainer.register_hooks([hooks.EvalHook(0, lambda: {"AP": "good"})])
    with pytest.raises(ValueError, match="AP"):
        trainer.train(0, 1)


def test_lr_scheduler_hook_reports_the_largest_group_before_it_steps():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    model = LossModel()
    optimizer = torch.optim.SGD([{"params": model.parameters(), "lr": 9.0}, {"params": parameters, "lr": 1.0}], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    trainer = SimpleTrainer(model, [torch.zeros(1)] * 3, optimizer)
    trainer.register_hooks([hooks.LRScheduler(optimizer, scheduler)])
    trainer.train(0, 3)
    assert [value for value, _ in trainer.storage.history("lr").values()] == [1.0, 0.5, 0.25]
    assert trainer.state_dict()["hooks"]["LRScheduler"]["last_epoch"] == 3


def test_iteration_timer_skips_the_warmup():
    trainer = simple_trainer([torch.ones(1)] * 5)
    trainer.register_hooks([hooks.IterationTimer(warmup_iter=3)])
    trainer.train(0, 5)
    assert [iteration for _, iteration in trainer.storage.history("time").values()] == [2, 3, 4]


def test_callback_hook():
    calls = []
    trainer = simple_trainer([torch.ones(1)])
    trainer.register_hooks(
        [
            hooks.CallbackHook(
                before_train=lambda trainer: calls.append(("before_train", trainer.iter)),
                after_step=lambda trainer: calls.append(("after_step", trainer.iter)),
                after_train=lambda trainer: calls.append(("after_train", trainer.iter)),
            )
        ]
    )
    trainer.train(0, 1)
    assert calls == [("before_train", 0), ("after_step", 0), ("after_train", 1)]


def test_periodic_checkpointer_names():
    saved = []

    class Recording(DetectionCheckpointer):
        def save(self, name, **extra):
            saved.append((name, extra))

    trainer = simple_trainer([torch.ones(1)] * 5)
    trainer.register_hooks([hooks.PeriodicCheckpointer(Recording(trainer.model), period=2)])
    trainer.train(0, 5)
    assert saved == [
        ("model_0000001", {"iteration": 1}),
        ("model_0000003", {"iteration": 3}),
        ("model_final", {"iteration": 4}),
    ]


@pytest.mark.skipif(detectron2_backend().kind == "real", reason="the real AMPTrainer asserts that there is CUDA")
def test_amp_on_cpu_is_bfloat16():
    seen = []

    class Linear(nn.Linear):
        def forward(self, batch):
            output = super().forward(batch)
            seen.append(output.dtype)
            return output.float().sum()

    trainer = simple_trainer([torch.ones(1, 2)], Linear(2, 2), cls=AMPTrainer)
    trainer.train(0, 1)
    assert seen == [torch.bfloat16] and trainer.model.weight.dtype == torch.float32
    assert "grad_scaler" not in trainer.state_dict()
