"""A training that is interrupted at any moment and resumed ends with the weights of an unbroken one, bit for bit."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.utils.env import seed_all_rng

from masqclip_d2.clip.model import build_clip, save_clip
from masqclip_d2.config import load_config
from masqclip_d2.engine.exact_resume import ExactResume
from masqclip_d2.engine.trainer import Trainer
from tests.forked import started_function
from tests.helpers import TINY_CLIP, TINY_PROPOSER

STEPS = 4
STARTED = "started"
COMMON = [
    *TINY_PROPOSER, "SOLVER.MAX_ITER", str(STEPS), "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.STEPS", "(1,)", "SEED", "3", "DATASETS.TEST", "()", "DATASETS.TRAIN", "('mini_shapes_train',)",
]  # fmt: skip
STAGES = {
    "clip_pretraining": [
        "MODEL.META_ARCHITECTURE", "ClipPretraining", "INPUT.DATASET_MAPPER_NAME", "shapes_pictures",
        "INPUT.IMAGE_SIZE", "128", "DATASETS.TRAIN", "('masqclip_shapes_pictures',)", "SOLVER.IMS_PER_BATCH", "8",
        "MODEL.SHAPES.AVERAGE_DECAY", "0.9", "MODEL.SHAPES.PATCH_DROPOUT", "0.3", "SOLVER.OPTIMIZER", "MUON",
    ],
    "teacher": ["MODEL.META_ARCHITECTURE", "MaskProposer", "DATALOADER.ASPECT_RATIO_GROUPING", "True"],
    "student": [
        "MODEL.META_ARCHITECTURE", "MaskDistiller", "MODEL.MASQCLIP.DISTILLATION.SCORE_THRESHOLD", "0.0",
        "MODEL.MASQCLIP.DISTILLATION.BASE_OVERLAP_LIMIT", "1.0",
    ],
    "masq_tuning": ["MODEL.META_ARCHITECTURE", "MasQCLIP"],
    "rma": ["MODEL.META_ARCHITECTURE", "MaskCLIP", "MODEL.MASQCLIP.RMA.LAYERS", "[1, 2]"],
}  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory, mini_shapes):
    """Folder with the weights that the stages start from."""
    folder = tmp_path_factory.mktemp("start")
    save_clip(folder / "clip.safetensors", build_clip(TINY_CLIP))
    cfg = load_config("base/shapes", [*COMMON, *STAGES["teacher"], "SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(folder)])
    Trainer(cfg).train()
    return folder


def options(stage, start, num_workers=0):
    """Overrides of base/shapes for a stage, without OUTPUT_DIR."""
    words = [*COMMON, *STAGES[stage], "DATALOADER.NUM_WORKERS", str(num_workers)]
    if stage == "clip_pretraining":
        architecture = start / "architecture.json"  # for whole pictures
        architecture.write_text(json.dumps({**TINY_CLIP, "image_resolution": 128}))
        return [*words, "MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(architecture)]
    if stage == "teacher":
        return words
    return [
        *words, "MODEL.WEIGHTS", str(start / "model_final.pth"),
        "MODEL.MASQCLIP.CLIP.NAME", str(start / "clip.safetensors"),
    ]  # fmt: skip


def train(words, output, resume=False):
    cfg = load_config("base/shapes", [*words, "OUTPUT_DIR", str(output)])
    seed_all_rng(cfg.SEED)  # as Detectron2's default_setup
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


def train_in_process(words, output, root):
    """`train --resume` in a process of its own."""
    from masqclip_d2.shapes.registration import register_shapes

    register_shapes(root, prefix="mini_")
    torch.set_num_threads(1)
    Path(output).mkdir(exist_ok=True)
    Path(output, STARTED).touch()
    train(words, output, resume=True)


def tensors_of(entry, prefix=""):
    """{path: tensor} of nested dictionaries and lists."""
    if torch.is_tensor(entry):
        return {prefix: entry}
    items = entry.items() if isinstance(entry, dict) else enumerate(entry) if isinstance(entry, (list, tuple)) else ()
    return {name: each for key, value in items for name, each in tensors_of(value, f"{prefix}/{key}").items()}


def assert_same_end(one, other):
    """Equal bits of weights and optimizer."""
    first, second = (
        tensors_of(torch.load(Path(folder) / "model_final.pth", weights_only=True)) for folder in (one, other)
    )
    assert first.keys() == second.keys() and any("optimizer" in name for name in first)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def interrupted_after(steps, folder, copy):
    """A copy of the output folder of a training as it was after some steps."""
    copy.mkdir()
    name = f"model_{steps - 1:07d}.pth"
    shutil.copy(folder / name, copy)
    (copy / "last_checkpoint").write_text(name)
    return copy


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_training_ends_with_the_bits_of_an_unbroken_one(stage, start, tmp_path, caplog):
    unbroken = tmp_path / "unbroken"
    train(options(stage, start), unbroken)
    resumed = interrupted_after(2, unbroken, tmp_path / "resumed")
    train(options(stage, start, num_workers=2), resumed, resume=True)
    assert_same_end(unbroken, resumed)
    assert "not exactly" not in caplog.text


def test_steps_draw_other_images_and_random_numbers(start, tmp_path):
    """What the test above compares would also be equal if every step were the same."""
    loader = iter(Trainer.build_train_loader(load_config("base/shapes", options("teacher", start))))
    batches = [[record["file_name"] for record in next(loader)] for _ in range(3)]
    assert len({name for batch in batches for name in batch}) > 2
    hook = ExactResume(load_config("base/shapes", options("teacher", start)))
    hook._seed = 3
    numbers = []
    for iteration in (0, 1, 0):
        hook.trainer = type("At", (), {"iter": iteration})
        hook.before_step()
        numbers.append((torch.rand(()).item(), random.random()))
    assert numbers[0] == numbers[2] and numbers[0][0] != numbers[1][0] and numbers[0][1] != numbers[1][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["SEED", "4"], "since this changed: SEED: 3 -> 4, SOLVER.MAX_ITER: 2 -> 3.\n"),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR", "0.5", "SOLVER.IMS_PER_BATCH", "4"],
            "SOLVER.BASE_LR: 0.001 -> 0.5, SOLVER.IMS_PER_BATCH: 2 -> 4, "
            "SOLVER.LR_SCHEDULER_NAME: WarmupMultiStepLR -> WarmupCosineLR, SOLVER.MAX_ITER: 2 -> 3. SOLVER.BASE_LR: "
            "the values of the checkpoint stay in use.",
        ),
        (["DATALOADER.NUM_WORKERS", "1"], "NUM_WORKERS changed from 0 to 1; training data do not depend on it"),
    ],
)
def test_changes_that_make_the_resumed_run_another_are_reported(changes, message, start, tmp_path, caplog):
    words = options("teacher", start)
    train([*words, "SOLVER.MAX_ITER", "2"], tmp_path)
    with caplog.at_level("INFO", logger="masqclip_d2"):
        train([*words, "SOLVER.MAX_ITER", "3", *changes], tmp_path, resume=True)
    assert message in caplog.text


def test_what_weights_do_not_depend_on_is_not_reported(start, tmp_path, caplog):
    words = options("teacher", start)
    train([*words, "SOLVER.MAX_ITER", "2"], tmp_path / "one")
    shutil.move(tmp_path / "one", tmp_path / "two")
    file = tmp_path / "two" / "model_final.pth"
    content = torch.load(file, weights_only=True)
    del content["trainer"]["hooks"]["ExactResume"]["conditions"]["SOLVER.MAX_ITER"]  # as of an older version
    torch.save(content, file)
    changes = ["SOLVER.CHECKPOINT_PERIOD", "9", "TEST.EVAL_PERIOD", "7", "INPUT.MIN_SIZE_TEST", "64"]
    train([*words, "SOLVER.MAX_ITER", "3", *changes], tmp_path / "two", resume=True)
    assert "not exactly" not in caplog.text


def test_a_run_that_was_killed_before_it_wrote_its_final_weights_writes_them(start, tmp_path):
    words = [*options("teacher", start), "SOLVER.MAX_ITER", "2"]
    train(words, tmp_path / "unbroken")
    resumed = interrupted_after(2, tmp_path / "unbroken", tmp_path / "resumed")
    train(words, resumed, resume=True)
    assert_same_end(tmp_path / "unbroken", resumed)


def test_a_checkpoint_without_random_states_is_reported(start, tmp_path, caplog):
    words = options("teacher", start)
    train([*words, "SOLVER.MAX_ITER", "2"], tmp_path)
    file = tmp_path / "model_final.pth"
    content = torch.load(file, weights_only=True)
    del content["trainer"]["hooks"]["ExactResume"]
    torch.save(content, file)
    train([*words, "SOLVER.MAX_ITER", "3"], tmp_path, resume=True)
    assert "The checkpoint has no random states" in caplog.text


def killed_and_resumed(words, output, root, num_kills, delays):
    """Train in processes of which the first ones are killed; a kill counts if the training had not ended."""
    kills = 0
    while True:
        (output / STARTED).unlink(missing_ok=True)
        process = started_function(train_in_process, words, str(output), str(root))
        while kills < num_kills and process.exitcode is None and not (output / STARTED).exists():
            process.join(0.02)
        process.join(delays.uniform(0.0, 2.0) if kills < num_kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
            if kills >= num_kills:
                return
            shutil.rmtree(output)  # it was too fast; once more


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_training_that_is_killed_at_random_moments(stage, start, tmp_path, shapes_root):
    """Twice in one stage; MASQCLIP_TEST_KILLS=10 is the number of kills in each stage."""
    num_kills = int(os.environ.get("MASQCLIP_TEST_KILLS", "2" if stage == "student" else "0"))
    if not num_kills:
        pytest.skip("only with MASQCLIP_TEST_KILLS")
    train(options(stage, start), tmp_path / "unbroken")
    words = options(stage, start, num_workers=1)
    killed_and_resumed(words, tmp_path / "killed", shapes_root, num_kills, random.Random(stage))
    assert_same_end(tmp_path / "unbroken", tmp_path / "killed")
