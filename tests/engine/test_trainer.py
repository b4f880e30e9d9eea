"""Stages train, checkpoint, resume and are evaluated on one or several sets; see also test_two_processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import AMPTrainer
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.env import seed_all_rng
from PIL import Image

from masqclip_d2.engine.bfloat16_trainer import Bfloat16Trainer
from masqclip_d2.engine.trainer import Trainer, _inner_trainer
from masqclip_d2.engine.vocabularies import vocabulary_of
from masqclip_d2.evaluation import check_ground_truth
from masqclip_d2.vocabulary import load_vocabulary, save_vocabulary
from tests.helpers import TINY_CLIP, tiny_config

SHORT = (
    "SOLVER.MAX_ITER", "4",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.CHECKPOINT_PERIOD", "2",
    "SOLVER.STEPS", "()",
    "DATALOADER.NUM_WORKERS", "0",
    "SEED", "3",
)  # fmt: skip


def teacher_config(folder, *opts):
    return tiny_config(
        folder, "MaskProposer", *SHORT, "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()", *opts
    )


def weights_of(folder, name="model_final.pth"):
    return torch.load(Path(folder) / "output" / name, weights_only=True)["model"]


def test_teacher_trains_and_writes_checkpoints_and_metrics(tmp_path, mini_shapes):
    cfg = teacher_config(tmp_path)
    trainer = Trainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = Path(cfg.OUTPUT_DIR)
    assert {"model_0000001.pth", "model_0000003.pth", "model_final.pth"} <= {file.name for file in output.iterdir()}
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert {"loss_ce", "loss_mask", "loss_dice", "loss_ce_0", "total_loss", "lr"} <= lines[-1].keys()
    assert any(file.name.startswith("events.out.tfevents") for file in output.iterdir())
    after = weights_of(tmp_path)
    unchanged = [name for name in after if torch.equal(after[name], before[name]) and name != "criterion.empty_weight"]
    assert unchanged == []


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path, mini_shapes, monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="IMS_PER_BATCH is 2; expected a multiple of 3, the number"):
        Trainer.build_train_loader(teacher_config(tmp_path, "SOLVER.IMS_PER_BATCH", "2"))


@pytest.fixture
def blue_first(tmp_path, mini_shapes, forget):
    """A panoptic dataset whose PNGs were saved blue first."""
    records = DatasetCatalog.get("mini_shapes_train")[:2]
    for number, record in enumerate(records):
        pixels = np.asarray(Image.open(record["pan_seg_file_name"]))
        record["pan_seg_file_name"] = str(tmp_path / f"{number}.png")
        record.pop("sem_seg_file_name", None)
        Image.fromarray(pixels[..., ::-1]).save(record["pan_seg_file_name"])
    DatasetCatalog.register("blue_first", lambda: records)
    MetadataCatalog.get("blue_first").set(
        **{**MetadataCatalog.get("mini_shapes_train").as_dict(), "name": "blue_first"}
    )
    return "blue_first"


def test_files_are_looked_at_before_the_first_step_and_before_inference(tmp_path, blue_first):
    cfg = teacher_config(tmp_path, "DATASETS.TRAIN", f"('{blue_first}',)", "INPUT.DATASET_MAPPER_NAME", "panoptic")
    with pytest.raises(ValueError, match="Dataset blue_first: Panoptic PNG .* if red and blue are exchanged"):
        Trainer.build_train_loader(cfg)
    evaluated = tiny_config(tmp_path, "MaskCLIP", "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True")
    with pytest.raises(ValueError, match="Dataset blue_first: Panoptic PNG .* if red and blue are exchanged"):
        check_ground_truth(evaluated, blue_first)
    evaluated.merge_from_list([
        "MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "False",
        "MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "False",
        "MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True",
    ])  # fmt: skip
    check_ground_truth(evaluated, blue_first)  # reads no PNGs


def test_test_sets_are_looked_at_once_before_the_first_step_and_by_an_evaluation_alone(
    tmp_path, mini_shapes, monkeypatch
):
    looked_at = []
    monkeypatch.setattr("masqclip_d2.engine.trainer.check_ground_truth", lambda cfg, name: looked_at.append(name))
    names = ["mini_shapes_val", "mini_shapes_val_instances"]
    cfg = teacher_config(tmp_path, "DATASETS.TEST", str(tuple(names)), "SOLVER.MAX_ITER", "1")
    trainer = Trainer(cfg)
    assert looked_at == names
    trainer.train()
    assert looked_at == names and trainer._last_eval_results.keys() == set(names), "the training has evaluated"
    Trainer.test(cfg, trainer.model)
    assert looked_at == 2 * names


def test_a_resumed_run_continues_at_the_next_iteration(tmp_path, mini_shapes):
    first = Trainer(teacher_config(tmp_path, "SOLVER.MAX_ITER", "2"))
    first.resume_or_load(resume=True)
    first.train()
    second = Trainer(teacher_config(tmp_path))
    second.resume_or_load(resume=True)
    assert second.start_iter == 2
    assert all(torch.equal(v, weights_of(tmp_path)[k]) for k, v in second.model.state_dict().items())
    second.train()
    assert second.iter == 4  # TrainerBase ends one iteration after the last


def test_a_run_with_other_parameter_groups_is_not_resumed(tmp_path, mini_shapes):
    first = Trainer(teacher_config(tmp_path, "SOLVER.MAX_ITER", "1", "SOLVER.WEIGHT_DECAY_BIAS", "None"))
    first.train()
    with pytest.raises(
        ValueError, match=r"cannot be resumed: .* groups of \[.*, the optimizer .*began with version 0.1.0"
    ):
        Trainer(teacher_config(tmp_path)).resume_or_load(resume=True)
    same = Trainer(teacher_config(tmp_path, "SOLVER.WEIGHT_DECAY_BIAS", "None"))
    same.resume_or_load(resume=True)
    assert same.start_iter == 1


@pytest.mark.parametrize("schedule", ["WarmupPolyLR", "WarmupCosineLR"])
def test_run_can_be_resumed_with_more_iterations(tmp_path, mini_shapes, schedule):
    opts = ("SOLVER.LR_SCHEDULER_NAME", schedule)
    first = Trainer(teacher_config(tmp_path, *opts, "SOLVER.MAX_ITER", "2"))
    first.train()
    second = Trainer(teacher_config(tmp_path, *opts, "SOLVER.MAX_ITER", "5"))
    second.resume_or_load(resume=True)
    second.train()
    assert second.scheduler.last_epoch == 5


def test_the_same_seed_leads_to_the_same_weights(tmp_path, mini_shapes):
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        seed_all_rng(7)
        trainer = Trainer(teacher_config(tmp_path / name))
        trainer.train()
        runs.append(weights_of(tmp_path / name))
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_mixed_precision_on_the_cpu_is_bfloat16_where_it_is_fast(tmp_path, mini_shapes, monkeypatch, native, expected):
    monkeypatch.setattr("masqclip_d2.engine.trainer.bfloat16_is_native", lambda: native)
    trainer = Trainer(teacher_config(tmp_path, "SOLVER.AMP.ENABLED", "True"))
    seen = []
    trainer.model.backbone.res2.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    trainer.train()
    assert set(seen) == {expected}
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
    assert all(value.dtype != torch.bfloat16 for value in trainer.model.state_dict().values())


@pytest.mark.parametrize(("dtype", "expected"), [("fp16", AMPTrainer), ("bf16", Bfloat16Trainer)])
def test_dtype_of_mixed_precision_on_a_gpu(tmp_path, dtype, expected):
    options = ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", dtype, "MODEL.DEVICE", "cuda")
    assert _inner_trainer(teacher_config(tmp_path, *options)) is expected


def test_unknown_dtype_of_mixed_precision(tmp_path):
    with pytest.raises(ValueError, match="SOLVER.AMP.DTYPE is 'half'; expected 'fp16' or 'bf16'"):
        _inner_trainer(teacher_config(tmp_path, "SOLVER.AMP.DTYPE", "half"))


def test_clip_pretraining_exports_a_clip(tmp_path, mini_shapes):
    from masqclip_d2.clip.model import load_clip

    cfg = tiny_config(
        tmp_path, "ClipPretraining", *SHORT, "DATASETS.TRAIN", "('mini_shapes_closeups',)", "DATASETS.TEST", "()",
        "INPUT.DATASET_MAPPER_NAME", "captions", "INPUT.IMAGE_SIZE", "16",
        "MODEL.SHAPES.PATCH_DROPOUT", "0.5",
    )  # fmt: skip
    trainer = Trainer(cfg)
    trainer.train()
    clip = load_clip(Path(cfg.OUTPUT_DIR) / "clip.safetensors")
    assert clip.architecture.image_resolution == 32
    trained = trainer.model.clip.openai_state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in clip.openai_state_dict().items())


def vocabularies_of_an_evaluation(tmp_path, monkeypatch, *opts):
    """The vocabulary of the model on each test set."""
    seen = {}
    monkeypatch.setattr(
        "masqclip_d2.engine.trainer.inference_on_dataset",
        lambda model, loader, name: seen.update({name: model.vocabulary}) or {"sem_seg": {"mIoU": 1.0}},
    )
    sets = ("mini_shapes_val", "mini_shapes_val_instances")
    cfg = tiny_config(tmp_path, "MaskCLIP", "DATASETS.TEST", str(sets), "DATALOADER.NUM_WORKERS", "0", *opts)
    Trainer.test(cfg, Trainer.build_model(cfg), evaluators=list(sets))
    return seen


def test_a_style_applies_to_every_test_set(tmp_path, mini_shapes, monkeypatch):
    seen = vocabularies_of_an_evaluation(tmp_path, monkeypatch, "MODEL.MASQCLIP.TEXT.VOCABULARY", "openseg")
    assert {name: (len(one), one.ensemble, one.templates) for name, one in seen.items()} == {
        "mini_shapes_val": (42, "max", "vild_14"), "mini_shapes_val_instances": (36, "max", "vild_14"),
    }  # fmt: skip
    own = vocabularies_of_an_evaluation(tmp_path, monkeypatch)
    assert {one.ensemble for one in own.values()} == {""}


def test_a_vocabulary_file_must_match_each_test_set(tmp_path, mini_shapes, monkeypatch):
    save_vocabulary(load_vocabulary("shapes/maskclip"), tmp_path / "vocabulary.yaml")
    with pytest.raises(
        ValueError, match=r"vocabulary.yaml' has 42 categories, but dataset 'mini_shapes_val_instances' has 36"
    ):
        vocabularies_of_an_evaluation(
            tmp_path, monkeypatch, "MODEL.MASQCLIP.TEXT.VOCABULARY", str(tmp_path / "vocabulary.yaml")
        )


def test_an_unknown_test_vocabulary_is_refused_early(tmp_path, mini_shapes):
    cfg = tiny_config(
        tmp_path, "MasQCLIP", *SHORT, "DATASETS.TRAIN", "('mini_shapes_train',)",
        "DATASETS.TEST", "('mini_shapes_val',)",
        "MODEL.MASQCLIP.TEXT.VOCABULARY", "opensegg",
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match="'opensegg'"):
        Trainer(cfg)


@pytest.mark.parametrize("option", ["VOCABULARY", "VOCABULARY_TRAIN"])
def test_a_category_that_is_too_long_for_clip_is_refused_early(tmp_path, mini_shapes, option):
    names = list(vocabulary_of("mini_shapes_train").names)
    names[3] += " and so on" * 20
    (tmp_path / "long.txt").write_text("\n".join(names))
    cfg = tiny_config(
        tmp_path, "MasQCLIP", *SHORT, "DATASETS.TRAIN", "('mini_shapes_train',)",
        "DATASETS.TEST", "('mini_shapes_train',)", f"MODEL.MASQCLIP.TEXT.{option}", str(tmp_path / "long.txt"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^Categories of mini_shapes_train: The text .* needs \d+ tokens, but"):
        Trainer(cfg)


def test_training_has_its_own_vocabulary_option(tmp_path, mini_shapes):
    (tmp_path / "reads_sentences.json").write_text(json.dumps({**TINY_CLIP, "context_length": 40}))
    cfg = tiny_config(
        tmp_path, "MasQCLIP", *SHORT, "DATASETS.TRAIN", "('mini_shapes_train',)", "DATASETS.TEST", "()",
        "MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN", "openseg", "SOLVER.MAX_ITER", "1",
        "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tmp_path / "reads_sentences.json"),
    )  # fmt: skip
    trainer = Trainer(cfg)
    vocabulary = trainer.model.vocabulary
    assert len(vocabulary) == 24 and (vocabulary.ensemble, vocabulary.templates) == ("max", "vild_14")
    trainer.train()
    cfg.MODEL.MASQCLIP.TEXT.VOCABULARY_TRAIN = "shapes/openseg"
    with pytest.raises(ValueError, match="'shapes/openseg' has 42 categories, but dataset 'mini_shapes_train' has 24"):
        Trainer(cfg)


def test_several_test_sets_are_evaluated_with_their_own_vocabularies(tmp_path, mini_shapes):
    cfg = tiny_config(
        tmp_path, "MaskCLIP", "DATASETS.TEST", "('mini_shapes_val', 'mini_shapes_val_instances')",
        "DATALOADER.NUM_WORKERS", "0",
    )  # fmt: skip
    results = Trainer.evaluate_weights(cfg)
    assert set(results) == {"mini_shapes_val", "mini_shapes_val_instances"}
    assert {"panoptic_seg", "sem_seg"} <= results["mini_shapes_val"].keys()
    assert {"PQ", "PQ_base", "PQ_novel"} <= results["mini_shapes_val"]["panoptic_seg"].keys()
    assert "AP" in results["mini_shapes_val_instances"]["segm"]
    written = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
    assert set(written["results"]) == set(results)


def test_test_time_augmentation_adds_semantic_metrics(tmp_path, mini_shapes):
    cfg = tiny_config(
        tmp_path, "MaskCLIP", "DATASETS.TEST", "('mini_shapes_val', 'mini_shapes_val_instances')",
        "DATALOADER.NUM_WORKERS", "0", "TEST.AUG.ENABLED", "True", "TEST.AUG.FLIP", "False",
        "INPUT.MIN_SIZE_TEST", "80", "INPUT.MAX_SIZE_TEST", "100",
        "TEST.AUG.MIN_SIZES", "(80,)", "TEST.AUG.MAX_SIZE", "100",
    )  # fmt: skip
    results = Trainer.evaluate_weights(cfg)
    assert {"panoptic_seg", "sem_seg", "sem_seg_TTA"} <= results["mini_shapes_val"].keys()
    assert str(results["mini_shapes_val"]["sem_seg_TTA"]) == str(results["mini_shapes_val"]["sem_seg"])  # nan is nan
    assert "sem_seg_TTA" not in results["mini_shapes_val_instances"]


def test_ground_truth_masks_are_evaluated_by_their_classification(tmp_path, mini_shapes):
    cfg = tiny_config(
        tmp_path, "ClipBaseline", "DATASETS.TEST", "('mini_shapes_val',)", "DATALOADER.NUM_WORKERS", "0",
        "MODEL.MASQCLIP.PROPOSER.SOURCE", "ground_truth",
    )  # fmt: skip
    results = Trainer.evaluate_weights(cfg)
    assert 0 <= results["mask_classification"]["top1"] <= 100


class _CountingEvaluator(DatasetEvaluator):
    def reset(self):
        self.seen = []

    def process(self, inputs, outputs):
        self.seen += [record["image_id"] for record in inputs]

    def evaluate(self):
        return {"counted": {"images": float(len(self.seen))}}


def test_own_evaluators_can_be_passed(tmp_path, mini_shapes):
    cfg = teacher_config(tmp_path, "DATASETS.TEST", "('mini_shapes_val',)")
    results = Trainer.test(cfg, Trainer.build_model(cfg), [_CountingEvaluator()])
    assert results == {"counted": {"images": 6.0}}


def test_a_run_that_misses_its_expected_results_fails(tmp_path, mini_shapes):
    cfg = teacher_config(
        tmp_path, "DATASETS.TEST", "('mini_shapes_val',)", "TEST.EXPECTED_RESULTS", "[['counted', 'images', 5.0, 0.5]]"
    )
    with pytest.raises(SystemExit):
        Trainer.test(cfg, Trainer.build_model(cfg), [_CountingEvaluator()])


def test_a_training_that_cannot_be_evaluated_is_refused_before_its_first_step(tmp_path, mini_shapes, monkeypatch):
    monkeypatch.delattr(MetadataCatalog.get("mini_shapes_val"), "json_file")
    cfg = teacher_config(tmp_path, "DATASETS.TEST", "('mini_shapes_val',)")
    with pytest.raises(ValueError, match="Nothing to evaluate .* the model predicts proposals.*instances=.*, or leave"):
        Trainer(cfg)


def test_a_finished_training_says_so(tmp_path, mini_shapes, caplog):
    cfg = teacher_config(tmp_path, "SOLVER.MAX_ITER", "1")
    for resume in (False, True):
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=resume)
        assert ("No step is left: the checkpoint is of iteration 0, SOLVER.MAX_ITER is 1" in caplog.text) == resume
        trainer.train()
