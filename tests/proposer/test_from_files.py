"""Masks from files: found by name or id, in the frame of the image at test, augmented with it in training."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.structures import Instances
from PIL import Image

from masqclip_d2.cli.demo import main as demo
from masqclip_d2.coco_masks import run_length
from masqclip_d2.data.mappers import build_mapper
from masqclip_d2.engine.test_time_augmentation import SemanticWithAugmentation
from masqclip_d2.engine.trainer import Trainer
from masqclip_d2.predictor import Predictor
from masqclip_d2.proposer import FileProposer, build_proposer, save_masks
from masqclip_d2.proposer.from_files import MaskFinder
from tests.helpers import five_categories, random_image, tiny_config

HW = (4, 6)
MASKS = np.zeros((3, *HW), dtype=bool)
MASKS[0, :2, :3] = MASKS[1, 2:, 1:] = MASKS[2, 1, 1] = True
SCORES = [0.5, 0.25, 1.0]
RECORD = {"file_name": "city/photo.jpg", "image_id": 7}


def write_masks(folder, image, masks):
    save_masks(folder / f"{image}.npz", masks, np.linspace(0.25, 1, len(masks)))


def halves(hw):
    """The upper and the lower half of an image."""
    masks = np.zeros((2, *hw), dtype=bool)
    masks[0, : hw[0] // 2] = masks[1, hw[0] // 2 :] = True
    return masks


class TestFinder:
    @pytest.mark.parametrize(
        "pattern, name",
        [
            ("{stem}", "photo.npz"),
            ("{stem}.npz", "photo.npz"),
            ("{name}", "photo.jpg.npz"),
            ("{parent}/{stem}_masks", "city/photo_masks.npz"),
            ("{image_id:05d}", "00007.npz"),
        ],
    )
    def test_a_file_per_image(self, tmp_path, pattern, name):
        save_masks(tmp_path / name, MASKS, SCORES)
        found = MaskFinder(tmp_path, pattern)(RECORD, HW)
        assert np.array_equal(found.masks, MASKS) and found.scores.tolist() == SCORES

    def test_the_format_is_detected(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps([{"segmentation": run_length(mask)} for mask in MASKS]))
        (tmp_path / "b").mkdir()
        for index, mask in enumerate(MASKS):
            Image.fromarray(mask).save(tmp_path / "b" / f"{index}.png")
        for name in ("a.jpg", "b.jpg"):
            assert np.array_equal(MaskFinder(tmp_path)({"file_name": name}, HW).masks, MASKS)

    def dataset(self, tmp_path, ids, images=None):
        entries = [
            {"image_id": image_id, "segmentation": run_length(mask), "score": score}
            for image_id in ids
            for mask, score in zip(MASKS, SCORES, strict=True)
        ]
        content = entries if images is None else {"images": images, "annotations": entries}
        (tmp_path / "results.json").write_text(json.dumps(content))
        return MaskFinder(tmp_path / "results.json")

    @pytest.mark.parametrize(
        "ids, record",
        [
            ([7, 8], {"image_id": 7}),
            (["7", "8"], {"image_id": 7, "file_name": "a.jpg"}),
            ([7, 139], {"file_name": "val/000000000139.jpg"}),  # Predictor knows no ids; COCO's names are ids
            (["photo", "other"], {"file_name": "photo.jpg"}),
        ],
    )
    def test_one_file_for_a_dataset(self, tmp_path, ids, record):
        found = self.dataset(tmp_path, ids)(record, HW)
        assert np.array_equal(found.masks, MASKS) and found.scores.tolist() == SCORES

    def test_one_file_with_a_table_of_images(self, tmp_path):
        images = [{"id": 1, "file_name": "val/photo.jpg"}, {"id": 2, "file_name": "val/empty.jpg"}]
        finder = self.dataset(tmp_path, [1], images)
        assert len(finder({"file_name": "/data/photo.jpg"}, HW).masks) == 3
        assert finder({"file_name": "/data/photo.jpg", "image_id": "no id of this file"}, HW).masks.shape == (3, *HW)
        assert finder({"file_name": "/data/empty.jpg"}, HW).masks.shape == (0, *HW)

    def test_two_images_of_the_same_name_are_told_apart_by_id_alone(self, tmp_path):
        finder = self.dataset(tmp_path, [1], [{"id": 1, "file_name": "a/x.jpg"}, {"id": 2, "file_name": "b/x.jpg"}])
        assert len(finder({"image_id": 1}, HW).masks) == 3 and len(finder({"image_id": 2}, HW).masks) == 0
        with pytest.raises(FileNotFoundError, match="results.json has no masks of image a/x.jpg"):
            finder({"file_name": "a/x.jpg"}, HW)

    def test_an_id_of_the_dataset_wins_over_a_name_that_looks_like_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no masks of image 000139.jpg .*'5', '000139.jpg'.*'images'"):
            self.dataset(tmp_path, [139])({"file_name": "000139.jpg", "image_id": 5}, HW)

    def test_a_changed_file_is_read_again(self, tmp_path):
        self.dataset(tmp_path, [1])
        finder = self.dataset(tmp_path, [2])
        assert len(finder({"image_id": 2}, HW).masks) == 3

    def test_it_can_be_sent_to_a_worker(self, tmp_path):
        finder = pickle.loads(pickle.dumps(self.dataset(tmp_path, [1])))
        assert len(finder({"image_id": 1}, HW).masks) == 3

    def test_no_masks_for_an_image(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"Image city/photo.jpg has no masks: none of .*photo, .*photo.npz"):
            MaskFinder(tmp_path)(RECORD, HW)
        (tmp_path / "photo.pkl").touch()
        with pytest.raises(
            FileNotFoundError, match="There is photo.pkl, which is of another format.*PATTERN, '{stem}'"
        ):
            MaskFinder(tmp_path)(RECORD, HW)
        save_masks(tmp_path / "photo.npz", MASKS)
        (tmp_path / "photo.json").touch()
        with pytest.raises(ValueError, match="masks in .*photo.npz and .*photo.json; keep one"):
            MaskFinder(tmp_path)(RECORD, HW)

    def test_an_image_without_a_name(self, tmp_path):
        with pytest.raises(ValueError, match="'{stem}' cannot be filled in .*of which image_id is known"):
            MaskFinder(tmp_path)({"image_id": 7}, HW)
        with pytest.raises(ValueError, match="for image without a name, of which no name is known"):
            MaskFinder(tmp_path)({}, HW)

    @pytest.mark.parametrize("pattern, message", [("{step}", "PATTERN '{step}' cannot"), ("", "PATTERN is empty")])
    def test_unfit_patterns(self, tmp_path, pattern, message):
        with pytest.raises(ValueError, match=message):
            MaskFinder(tmp_path, pattern)

    def test_unfit_paths(self, tmp_path):
        with pytest.raises(ValueError, match="FILES.PATH is empty; set it to the folder"):
            MaskFinder("")
        with pytest.raises(FileNotFoundError, match="FILES.PATH: .*nowhere does not exist"):
            MaskFinder(tmp_path / "nowhere")
        (tmp_path / "masks.pkl").touch()
        with pytest.raises(ValueError, match="FILES.PATH is the file .*masks.pkl; expected a folder"):
            MaskFinder(tmp_path / "masks.pkl")
        (tmp_path / "sa_7.json").write_text(json.dumps({"image": {}, "annotations": [{"segmentation": {}}]}))
        with pytest.raises(
            ValueError, match="sa_7.json is no list of COCO's results.*single image belong into a folder"
        ):
            MaskFinder(tmp_path / "sa_7.json")


class TestProposals:
    @pytest.fixture
    def proposer(self, tmp_path):
        save_masks(tmp_path / "photo.npz", MASKS, SCORES)
        return FileProposer(masks=MaskFinder(tmp_path))

    def test_masks_cover_the_image_at_any_size(self, proposer):
        records = [
            {"image": random_image(4, 6), "file_name": "photo.jpg"},
            {"image": random_image(12, 18), "file_name": "photo.jpg", "height": 4, "width": 6},
        ]
        same, resized = proposer.propose(records)
        for proposals, hw in ((same, (4, 6)), (resized, (12, 18))):
            assert torch.equal(proposals.mask_logits > 0, torch.from_numpy(MASKS))
            assert proposals.object_scores.tolist() == SCORES
            assert proposals.image_hw == proposals.padded_hw == hw

    def test_masks_of_another_size_are_refused(self, proposer):
        with pytest.raises(ValueError, match="photo.npz is 6x4 pixels, but the image is 18x12"):
            proposer.propose([{"image": random_image(12, 18), "file_name": "photo.jpg"}])

    def test_masks_of_the_mapper_are_taken_as_they_are(self, proposer):
        record = {"image": random_image(8, 8), "file_name": "photo.jpg", "instances": Instances((8, 8))}
        masks = torch.rand(2, 8, 8) > 0.5
        given = {"proposal_masks": masks, "proposal_scores": torch.tensor([0.5, 0.75])}
        [proposals] = proposer.propose([{**record, **given}])
        assert torch.equal(proposals.mask_logits > 0, masks) and proposals.object_scores.tolist() == [0.5, 0.75]
        with pytest.raises(ValueError, match="record of photo.jpg has ground truth but no 'proposal_masks'"):
            proposer.propose([record])

    def test_it_has_no_weights(self, proposer):
        assert proposer.state_dict() == {}

    def test_by_configuration(self, tmp_path):
        options = ("MODEL.MASQCLIP.PROPOSER.SOURCE", "from_files", "MODEL.MASQCLIP.PROPOSER.FILES.PATH", str(tmp_path))
        cfg = tiny_config(tmp_path, "MaskCLIP", *options, "MODEL.MASQCLIP.PROPOSER.FILES.PATTERN", "{name}")
        proposer = build_proposer(cfg)
        assert isinstance(proposer, FileProposer) and not proposer.needs_ground_truth
        assert (proposer.masks.path, proposer.masks.pattern) == (tmp_path, "{name}")
        with pytest.raises(ValueError, match="TEST.AUG.ENABLED|FileProposer"):
            SemanticWithAugmentation.from_config(cfg, build_model(cfg))


@pytest.fixture
def from_files(tmp_path, mini_shapes):
    """Overrides: stored masks, the halves of each image, for mini_shapes_train and mini_shapes_val."""
    for dataset in ("mini_shapes_train", "mini_shapes_val"):
        for record in DatasetCatalog.get(dataset):
            image = Path(record["file_name"])  # both folders have the same file names
            hw = (record["height"], record["width"])
            write_masks(tmp_path / "masks", f"{image.parent.name}/{image.stem}", halves(hw))
    return (
        "MODEL.MASQCLIP.PROPOSER.SOURCE", "from_files",
        "MODEL.MASQCLIP.PROPOSER.FILES.PATH", str(tmp_path / "masks"),
        "MODEL.MASQCLIP.PROPOSER.FILES.PATTERN", "{parent}/{stem}",
        "DATASETS.TRAIN", "('mini_shapes_train',)",
        "DATASETS.TEST", "('mini_shapes_val',)",
        "DATALOADER.NUM_WORKERS", "0",
    )  # fmt: skip


@pytest.mark.parametrize("mapper", ["panoptic", "panoptic_lsj"])
def test_training_masks_are_augmented_with_their_image(from_files, tmp_path, mapper):
    """Masks drawn into the images: what is brighter than 128 there is the first mask, whatever the augmentation."""
    record = dict(DatasetCatalog.get("mini_shapes_train")[0])
    hw = (record["height"], record["width"])
    masks = np.zeros((2, *hw), dtype=bool)
    masks[0, 20:70, 30:100] = masks[1, 0, 0] = True
    Image.fromarray(np.repeat(masks[0, :, :, None], 3, 2).astype(np.uint8) * 255).save(tmp_path / "drawn.png")
    write_masks(tmp_path / "masks", f"{tmp_path.name}/drawn", masks)
    record["file_name"] = str(tmp_path / "drawn.png")
    crop = ("INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", "[60, 60]")
    cfg = tiny_config(tmp_path, "MaskCLIP", *from_files, *crop, "INPUT.DATASET_MAPPER_NAME", mapper)
    cfg.INPUT.IMAGE_SIZE, cfg.INPUT.COLOR_AUG_SSD = 96, False
    mapper = build_mapper(cfg, is_train=True)
    numbers = set()
    for _ in range(12):
        mapped = mapper(record)
        drawn = mapped["image"][0] > 180  # gray padding is 128
        numbers.add(len(mapped["proposal_masks"]))
        assert mapped["proposal_masks"].shape[1:] == drawn.shape
        assert len(mapped["proposal_scores"]) == len(mapped["proposal_masks"])
        if drawn.any():
            assert mapped["proposal_scores"][0] == 0.25
            share = (mapped["proposal_masks"][0] == drawn).float().mean()
            assert share > 0.95  # resizing blurs the drawing, not the mask
    assert 2 not in numbers or len(numbers) > 1  # the single pixel of the second mask is cropped away at times


def test_no_masks_are_attached_at_test(from_files, tmp_path):
    mapped = build_mapper(tiny_config(tmp_path, "MaskCLIP", *from_files), is_train=False)(
        DatasetCatalog.get("mini_shapes_val")[0]
    )
    assert set(mapped) == {"image", "file_name", "image_id", "height", "width"}


def test_masq_tuning_and_evaluation(from_files, tmp_path):
    train = ("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "TEST.EVAL_PERIOD", "0", "SOLVER.STEPS", "()")
    cfg = tiny_config(tmp_path, "MasQCLIP", *from_files, *train)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    cfg.MODEL.WEIGHTS = str(tmp_path / "output" / "model_final.pth")
    results = Trainer.evaluate_weights(cfg)
    assert set(results) >= {"panoptic_seg", "sem_seg"}


class TestPredictor:
    @pytest.fixture
    def options(self, tmp_path):
        Image.fromarray(random_image(60, 90).permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
        write_masks(tmp_path / "masks", "photo", halves((60, 90)))
        path = ["MODEL.MASQCLIP.PROPOSER.FILES.PATH", str(tmp_path / "masks")]
        return ["MODEL.MASQCLIP.PROPOSER.SOURCE", "from_files", *path]

    def test_masks_of_a_photograph(self, options, tmp_path):
        predictor = Predictor(opts=options)
        found = predictor(tmp_path / "photo.png", five_categories(), task="instance")
        assert {segment.area for segment in found.segments} == {30 * 90}

    def test_an_array_has_no_file_name(self, options):
        with pytest.raises(ValueError, match="of which no name is known.*comes from a file"):
            Predictor(opts=options)(random_image(60, 90).permute(1, 2, 0).numpy(), five_categories())

    def test_demo(self, options, tmp_path, capsys):
        arguments = ["--vocab", "striped circle,dotted star", "--input", str(tmp_path / "photo.png")]
        demo([*arguments, "--output", str(tmp_path / "drawn"), "--task", "instance", "--opts", *options])
        content = json.loads((tmp_path / "drawn" / "photo.json").read_text())
        assert content["segments"]
