"""The trainer of every stage: Detectron2's DefaultTrainer, on any device and with our data, models and evaluators."""

from __future__ import annotations

import dataclasses
import logging
import weakref
from pathlib import Path

import torch
from detectron2.data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import AMPTrainer, DefaultTrainer, SimpleTrainer, TrainerBase
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset, print_csv_format, verify_results
from detectron2.utils import comm
from detectron2.utils.events import has_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..checkpoint import StrictCheckpointer
from ..data.mappers import build_mapper
from ..evaluation import SemanticEvaluator, build_evaluator, report_results, tasks_with_ground_truth
from ..meta_arch.open_vocabulary import OpenVocabularySegmenter
from ..meta_arch.semantic_augmentation import SemanticWithAugmentation
from ..meta_arch.tasks import Tasks
from ..vocabulary import Vocabulary, check_vocabulary_option, resolve_vocabulary
from .best_checkpoint import BestCheckpoint
from .optimizer import build_lr_scheduler, build_optimizer
from .prediction_images import PredictionImages

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """`DefaultTrainer` whose parts are ours; usage and hooks are Detectron2's.

    The constructor is written out, since Detectron2's own cannot train two processes on CPUs, nor with mixed precision
    there, and fixes its checkpointer.
    """

    def __init__(self, cfg) -> None:
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        if isinstance(model, OpenVocabularySegmenter):
            model.set_vocabulary(training_vocabulary(cfg))
            check_vocabulary_option(cfg.MODEL.MASQCLIP.TEXT.VOCABULARY)  # now, not at the first evaluation
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        if cfg.SOLVER.AMP.ENABLED and on_cpu:
            logger.warning("SOLVER.AMP.ENABLED on the CPU: the forward pass runs in bfloat16, without loss scaling.")
            model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
        inner = AMPTrainer if cfg.SOLVER.AMP.ENABLED and not on_cpu else SimpleTrainer
        model = wrap_for_processes(model)
        self._trainer = inner(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = StrictCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self), starts_training=True)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list:
        hooks = super().build_hooks()
        model = bare(self._trainer.model)
        if hasattr(model, "build_hooks"):
            hooks += model.build_hooks(self.cfg)
        metric = self.cfg.TEST.BEST_CHECKPOINT_METRIC
        if metric and not self.cfg.DATASETS.TEST:
            raise ValueError(f"TEST.BEST_CHECKPOINT_METRIC is {metric!r}, but DATASETS.TEST is empty; name a test set.")
        if metric and comm.is_main_process():
            hooks.append(BestCheckpoint(model, self.cfg.OUTPUT_DIR, metric))
        return hooks

    @classmethod
    def build_optimizer(cls, cfg, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg):
        return build_detection_train_loader(cfg, mapper=build_mapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg, dataset_name: str):
        mapper = build_mapper(cfg, is_train=False, dataset_names=[dataset_name])
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str, output_folder: str | None = None):
        output_folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference" / dataset_name)
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def evaluate_weights(cls, cfg, resume: bool = False) -> dict:
        """Build the model, load MODEL.WEIGHTS (or the last checkpoint with `resume`) and test it.

        With TEST.AUG.ENABLED, semantic answers are evaluated twice, see `test`.
        """
        model = cls.build_model(cfg)
        StrictCheckpointer(model, cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        return cls.test(cfg, model, augmented=cfg.TEST.AUG.ENABLED)

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators=None, augmented: bool = False) -> dict:
        """Evaluate on every set of DATASETS.TEST; the vocabulary follows the set.

        Args:
            cfg: the configuration.
            model: as built by `build_model`, or wrapped for several processes.
            evaluators: one per test set; None: `build_evaluator` for each.
            augmented: evaluate semantic answers once more with test-time augmentation (TEST.AUG), as `sem_seg_TTA`.

        Returns:
            The results of the one set, or {set: results}; empty on processes other than the first.

        Prints Detectron2's "copypaste" lines for each set, which they name, then one table of all; writes results.json
        to OUTPUT_DIR. In training, the first TEST.NUM_VISUALIZATIONS answers of each set are drawn for TensorBoard.
        """
        if evaluators is not None and len(evaluators) != len(cfg.DATASETS.TEST):
            raise ValueError(f"{len(evaluators)} evaluators for {len(cfg.DATASETS.TEST)} test sets.")
        bare_model = bare(model)
        augmented_model = SemanticWithAugmentation.from_config(cfg, bare_model) if augmented else None
        vocabulary_before = getattr(bare_model, "vocabulary", None)
        tasks_before = getattr(bare_model, "tasks", None)
        results: dict[str, dict] = {}
        for index, name in enumerate(cfg.DATASETS.TEST):
            loader = cls.build_test_loader(cfg, name)  # reads the set, which completes its metadata
            if isinstance(bare_model, OpenVocabularySegmenter):
                bare_model.set_vocabulary(vocabulary_of(name, cfg.MODEL.MASQCLIP.TEXT.VOCABULARY))
                bare_model.tasks = tasks_on(name, tasks_before)
            evaluator = evaluators[index] if evaluators is not None else cls.build_evaluator(cfg, name)
            if (
                cfg.TEST.NUM_VISUALIZATIONS > 0
                and has_event_storage()
                and isinstance(bare_model, OpenVocabularySegmenter)
            ):
                pictures = PredictionImages(name, bare_model.require_vocabulary(), cfg.TEST.NUM_VISUALIZATIONS)
                evaluator = DatasetEvaluators([evaluator, pictures])
            results[name] = inference_on_dataset(bare_model, loader, evaluator)
            if augmented_model is not None:
                results[name].update(cls._test_augmented(cfg, augmented_model, name))
            if comm.is_main_process():
                logger.info("Results of %s on %s:", type(bare_model).__name__, name)
                logger.info("copypaste: Dataset: %s", name)
                print_csv_format(results[name])
        if tasks_before is not None:
            bare_model.tasks = tasks_before
        if vocabulary_before is not None:
            bare_model.set_vocabulary(vocabulary_before)  # training goes on with its own words
        if comm.is_main_process() and results:
            report_results(results, cfg)
        results = dict(results)
        flat = next(iter(results.values())) if len(results) == 1 else results
        if comm.is_main_process() and len(cfg.TEST.EXPECTED_RESULTS):
            verify_results(cfg, flat)
        return flat

    @classmethod
    def _test_augmented(cls, cfg, model: SemanticWithAugmentation, dataset_name: str) -> dict:
        """{"sem_seg_TTA": numbers} of one test set; {} where it has no semantic ground truth."""
        if "semantic" not in tasks_with_ground_truth(dataset_name):
            logger.info("%s has no semantic ground truth: not evaluated with test-time augmentation.", dataset_name)
            return {}
        logger.info("%s with test-time augmentation (TEST.AUG): semantic answers alone.", dataset_name)
        as_on_disk = cfg.clone()
        as_on_disk.defrost()
        as_on_disk.INPUT.MIN_SIZE_TEST = 0  # the model resizes
        loader = cls.build_test_loader(as_on_disk, dataset_name)
        results = inference_on_dataset(model, loader, SemanticEvaluator(dataset_name))
        return {f"{task}_TTA": numbers for task, numbers in results.items()}


def vocabulary_of(dataset_name: str, chosen: str = "") -> Vocabulary:
    """The words of a dataset, from its metadata or as `chosen` says (MODEL.MASQCLIP.TEXT.VOCABULARY).

    Raises:
        FileNotFoundError: `chosen` is no form, shipped name or file.
        ValueError: the metadata has no words, or another number of words than the ground truth has categories; the
            chosen words do not fit.
    """
    metadata = MetadataCatalog.get(dataset_name)
    vocabulary = Vocabulary.from_metadata(metadata)
    ids = {
        contiguous
        for key in ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id")
        for contiguous in metadata.get(key, {}).values()
    }
    if ids and max(ids) + 1 != len(vocabulary):
        raise ValueError(
            f"The vocabulary of dataset {dataset_name!r} has {len(vocabulary)} words, but its ground truth has "
            f"{max(ids) + 1} categories; give one name per category, in contiguous order, in its metadata 'vocabulary'."
        )
    return resolve_vocabulary(vocabulary, chosen, dataset_name)


def tasks_on(dataset_name: str, tasks: Tasks) -> Tasks:
    """Tasks with as many instances per image as the dataset's protocol has (metadata `detections_per_image`).

    Datasets without that metadata leave them as they are, TEST.DETECTIONS_PER_IMAGE.
    """
    number = MetadataCatalog.get(dataset_name).get("detections_per_image", None)
    if number is None or number == tasks.topk:
        return tasks
    logger.info("%s: %d instances per image, as its protocol has, for %d.", dataset_name, number, tasks.topk)
    return dataclasses.replace(tasks, topk=number)


def training_vocabulary(cfg) -> Vocabulary:
    """The words of the training sets, or those of MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN, which must agree.

    Raises:
        FileNotFoundError, ValueError: they differ, or see `vocabulary_of`.
    """
    chosen = cfg.MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN
    first, *others = (vocabulary_of(name, chosen) for name in cfg.DATASETS.TRAIN)
    for name, other in zip(cfg.DATASETS.TRAIN[1:], others, strict=True):
        if other != first:
            raise ValueError(
                f"Training sets {cfg.DATASETS.TRAIN[0]!r} and {name!r} have different vocabularies; train on one of "
                "them, or give both the same words."
            )
    return first


def bare(model: nn.Module) -> nn.Module:
    """The model without the wrapper for several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def wrap_for_processes(model: nn.Module) -> nn.Module:
    """DistributedDataParallel over all processes, on GPUs or on CPUs (gloo); the bare model if there is one process."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model, device_ids=None if device.type == "cpu" else [device.index], broadcast_buffers=False
    )
