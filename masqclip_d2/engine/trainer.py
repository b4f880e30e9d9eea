"""The trainer of every stage: Detectron2's DefaultTrainer on any device, for any registered meta-architecture.

A model follows Detectron2's contract: losses in training mode, one result per image in eval mode. Optional methods are
those of `protocols`, optional attributes those of `checkpoint.StrictCheckpointer`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog, build_detection_test_loader
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, has_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..acceleration import Acceleration, accelerated
from ..checkpoint import StrictCheckpointer
from ..checkpoint.checkpointer import FINAL
from ..data.mappers import build_mapper
from ..data.training_loader import build_training_loader, empty_datasets_named
from ..data.worker_transfer import set_up_workers
from ..evaluation import (
    SemanticEvaluator,
    build_evaluator,
    check_ground_truth,
    report_results,
    tasks_with_ground_truth,
)
from ..meta_arch.build import model_class
from ..precision import bfloat16_is_native
from ..vocabulary import check_vocabulary_option, with_background_prompts
from .best_checkpoint import BestCheckpoint
from .bfloat16_trainer import Bfloat16Trainer
from .console import MetricPrinter
from .exact_resume import ExactResume
from .hook_registry import build_registered_hooks
from .optimizer import build_lr_scheduler, build_optimizer, check_optimizer_state
from .prediction_images import PredictionImages
from .protocols import BuildsHooks, HasDetectionLimit, HasVocabulary
from .test_time_augmentation import SemanticWithAugmentation
from .vocabularies import check_vocabularies, training_vocabulary, vocabulary_of

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """`DefaultTrainer` with the optimizers, data, evaluators and checkpoints of this package.

    `__init__` replaces Detectron2's, which supports neither several processes nor mixed precision on CPUs and has a
    fixed checkpointer.
    """

    def __init__(self, cfg) -> None:
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        model: nn.Module = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        check_test_sets(cfg)
        if isinstance(model, HasVocabulary):
            model.set_vocabulary(training_vocabulary(cfg))
            check_vocabulary_option(cfg.MODEL.MASQCLIP.TEXT.VOCABULARY)  # now, not at the first evaluation
            check_vocabularies(cfg, model)
        model = wrap_for_processes(model)
        self._trainer = _inner_trainer(cfg)(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = StrictCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self), starts_training=True)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """As Detectron2's; a training without further steps says so, and has its final weights."""
        super().resume_or_load(resume=resume)
        if 0 < self.start_iter == self.max_iter and not Path(self.cfg.OUTPUT_DIR, f"{FINAL}.pth").exists():
            self.checkpointer.save(FINAL, iteration=self.start_iter - 1)  # the run was killed before it did so
        if self.start_iter >= self.max_iter:
            logger.warning(
                "No step is left: the checkpoint is of iteration %d, SOLVER.MAX_ITER is %d; set SOLVER.MAX_ITER higher "
                "to train on.",
                self.start_iter - 1,
                self.max_iter,
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the run of a checkpoint; ValueError if its optimizer had other parameter groups."""
        check_optimizer_state(self._trainer.optimizer, state_dict["_trainer"]["optimizer"])
        super().load_state_dict(state_dict)

    def build_hooks(self) -> list:
        model: nn.Module = unwrap(self._trainer.model)
        # The model's own hooks may change it after a step, so they come before the one that writes checkpoints.
        own = model.build_hooks(self.cfg) if isinstance(model, BuildsHooks) else []
        hooks = [ExactResume(self.cfg), *own, *super().build_hooks(), *build_registered_hooks(self.cfg)]
        metric = self.cfg.TEST.BEST_CHECKPOINT_METRIC
        if metric and not self.cfg.DATASETS.TEST:
            raise ValueError(
                f"TEST.BEST_CHECKPOINT_METRIC is {metric!r}, but DATASETS.TEST is empty; set a test set, or "
                'TEST.BEST_CHECKPOINT_METRIC "".'
            )
        if metric:
            trainer = weakref.proxy(self)
            evaluate = partial(_evaluate, trainer)
            hooks.append(BestCheckpoint(model, self.cfg.OUTPUT_DIR, metric, self.cfg.TEST.EVAL_PERIOD, evaluate))
        return hooks

    def build_writers(self) -> list[EventWriter]:
        """Detectron2's writers; the training line has the losses of the final output only."""
        others = [writer for writer in super().build_writers() if not isinstance(writer, CommonMetricPrinter)]
        return [MetricPrinter(self.max_iter), *others]

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        model_class(cfg)  # refuses an unknown name
        return super().build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg):
        batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
        if batch < 1 or batch % processes:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {batch}; expected a multiple of {processes}, the number of processes "
                "(--num-gpus)."
            )
        return build_training_loader(cfg, build_mapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        mapper = build_mapper(cfg, is_train=False, dataset_names=[dataset_name])
        with empty_datasets_named("DATASETS.TEST", [dataset_name]):
            loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)  # pyright: ignore[reportCallIssue]
        set_up_workers(loader)
        return loader

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str, output_folder: str | None = None):
        output_folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference" / dataset_name)
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def evaluate_weights(cls, cfg, resume: bool = False) -> dict:
        """Build the model, load MODEL.WEIGHTS (or the last checkpoint with `resume`) and test it.

        With TEST.AUG.ENABLED semantic predictions are evaluated twice, see `test`.
        """
        model = cls.build_model(cfg)
        StrictCheckpointer(model, cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        return cls.test(cfg, model, augmented=cfg.TEST.AUG.ENABLED)

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators=None, augmented: bool = False) -> dict:
        """Evaluate on every set of DATASETS.TEST, each with its own vocabulary.

        Args:
            cfg: the configuration.
            model: as built by `build_model`, or wrapped for several processes.
            evaluators: one per test set; None: `build_evaluator` for each.
            augmented: evaluate semantic predictions again with test-time augmentation (TEST.AUG), as `sem_seg_TTA`.

        Returns:
            The results of the only set, or {set: results}; empty on processes other than the first.

        Logs Detectron2's "copypaste" lines of each set (in log.txt) and a table of all; writes results.json to
        OUTPUT_DIR. In training, predictions for the first TEST.NUM_VISUALIZATIONS images of each set are drawn for
        TensorBoard.
        """
        if evaluators is not None and len(evaluators) != len(cfg.DATASETS.TEST):
            raise ValueError(f"{len(evaluators)} evaluators for {len(cfg.DATASETS.TEST)} test sets; pass one for each.")
        if evaluators is None and not has_event_storage():  # a training has done so before its first step
            check_test_sets(cfg)
        model = unwrap(model)
        augmented_model = SemanticWithAugmentation.from_config(cfg, model) if augmented else None
        results: dict[str, dict] = {}
        with _restored_settings(model), accelerated(model, Acceleration.from_config(cfg)):
            for index, name in enumerate(cfg.DATASETS.TEST):
                evaluator = evaluators[index] if evaluators is not None else None
                results[name] = cls._test_on(cfg, model, name, evaluator)
                if augmented_model is not None:
                    results[name].update(cls._test_augmented(cfg, augmented_model, name))
                if comm.is_main_process():
                    logger.info("Results of %s on %s:", type(model).__name__, name)
                    logger.info("copypaste: Dataset: %s", name)
                    print_csv_format(results[name])
        if comm.is_main_process() and results:
            report_results(results, cfg)
        flat = next(iter(results.values())) if len(results) == 1 else results
        if comm.is_main_process() and len(cfg.TEST.EXPECTED_RESULTS):
            verify_results(cfg, flat)
        return flat

    @classmethod
    def _test_on(cls, cfg, model: nn.Module, dataset_name: str, evaluator: DatasetEvaluator | None) -> dict:
        """Results on one set, after the model is given its vocabulary and number of detections."""
        loader = cls.build_test_loader(cfg, dataset_name)  # reads the set, which completes its metadata
        vocabulary = None
        if isinstance(model, HasVocabulary):
            text = cfg.MODEL.MASQCLIP.TEXT
            vocabulary = vocabulary_of(dataset_name, text.VOCABULARY)
            vocabulary = with_background_prompts(vocabulary, text.BACKGROUND_PROMPTS)
            model.set_vocabulary(vocabulary)
        if isinstance(model, HasDetectionLimit):
            model.set_detections_per_image(_detections_per_image(cfg, dataset_name))
        if evaluator is None:
            evaluator = cls.build_evaluator(cfg, dataset_name)
        if cfg.TEST.NUM_VISUALIZATIONS > 0 and has_event_storage() and vocabulary is not None:
            images = PredictionImages(dataset_name, vocabulary, cfg.TEST.NUM_VISUALIZATIONS)
            evaluator = DatasetEvaluators([evaluator, images])
        return inference_on_dataset(model, loader, evaluator)

    @classmethod
    def _test_augmented(cls, cfg, model: SemanticWithAugmentation, dataset_name: str) -> dict:
        """{"sem_seg_TTA": metrics} of one test set; {} if it has no semantic ground truth."""
        if "semantic" not in tasks_with_ground_truth(dataset_name):
            logger.info("%s has no semantic ground truth: no test-time augmentation.", dataset_name)
            return {}
        logger.info("%s: semantic predictions with test-time augmentation (TEST.AUG).", dataset_name)
        original_size = cfg.clone()
        original_size.defrost()
        original_size.INPUT.MIN_SIZE_TEST = 0  # `model` resizes
        loader = cls.build_test_loader(original_size, dataset_name)
        results = inference_on_dataset(model, loader, SemanticEvaluator(dataset_name))
        return {f"{task}_TTA": metrics for task, metrics in results.items()}


def _evaluate(trainer: Trainer) -> None:
    """Test the model and keep the results as Detectron2's EvalHook does."""
    trainer._last_eval_results = trainer.test(trainer.cfg, trainer.model)
    comm.synchronize()


def _inner_trainer(cfg) -> type[SimpleTrainer]:
    """Detectron2's trainer of one step, for the precision and device of a configuration."""
    amp = cfg.SOLVER.AMP
    if amp.DTYPE not in ("fp16", "bf16"):
        raise ValueError(f"SOLVER.AMP.DTYPE is {amp.DTYPE!r}; expected 'fp16' or 'bf16'.")
    if not amp.ENABLED:
        return SimpleTrainer
    if torch.device(cfg.MODEL.DEVICE).type != "cpu":
        return AMPTrainer if amp.DTYPE == "fp16" else Bfloat16Trainer
    if not bfloat16_is_native():
        logger.warning("SOLVER.AMP.ENABLED has no effect: this CPU emulates bfloat16, slower than float32.")
        return SimpleTrainer
    logger.warning("SOLVER.AMP.ENABLED on the CPU: the forward pass runs in bfloat16, without loss scaling.")
    return Bfloat16Trainer


def check_test_sets(cfg) -> None:
    """`check_ground_truth` of each set of DATASETS.TEST."""
    for name in cfg.DATASETS.TEST:
        check_ground_truth(cfg, name)


@contextmanager
def _restored_settings(model: Any) -> Iterator[None]:
    """Restore a model's vocabulary and number of detections, which an evaluation changes."""
    vocabulary = getattr(model, "vocabulary", None)
    try:
        yield
    finally:
        if isinstance(model, HasDetectionLimit):
            model.set_detections_per_image(None)
        if vocabulary is not None and isinstance(model, HasVocabulary):
            model.set_vocabulary(vocabulary)


def _detections_per_image(cfg, dataset_name: str) -> int | None:
    """Metadata `detections_per_image` of a set, which its protocol defines; None: TEST.DETECTIONS_PER_IMAGE."""
    number = MetadataCatalog.get(dataset_name).get("detections_per_image", None)
    if number is not None and number != cfg.TEST.DETECTIONS_PER_IMAGE:
        logger.info("%s: %d detections per image, as its protocol requires.", dataset_name, number)
    return number


def unwrap(model: nn.Module) -> Any:
    """The model without the wrapper for several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def wrap_for_processes(model: nn.Module) -> nn.Module:
    """DistributedDataParallel over all processes, on GPUs or CPUs (gloo); the model itself for one process."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model, device_ids=None if device.type == "cpu" else [device.index], broadcast_buffers=False
    )
