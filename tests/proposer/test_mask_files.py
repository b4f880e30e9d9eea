"""Masks of a 4 x 6 image in every format, and what is wrong with damaged ones."""

import csv
import json
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from masqclip_d2.coco_masks import run_length
from masqclip_d2.proposer import save_masks
from masqclip_d2.proposer.mask_files import read_mask_file

HW = (4, 6)
MASKS = np.zeros((3, *HW), dtype=bool)
MASKS[0, :2, :3] = MASKS[1, 2:, 1:] = MASKS[2, 1, 1] = True
SCORES = [0.5, 0.25, 1.0]
RUNS = {"size": [4, 6], "counts": [5, 1, 18]}  # MASKS[2], column by column


def sam_dicts(predicted_iou=SCORES, encode=lambda mask: mask):
    """The list of SAM's automatic mask generator."""
    return [
        {"segmentation": encode(mask), "area": int(mask.sum()), "bbox": [0, 0, 1, 1], "predicted_iou": iou,
         "stability_score": 0.97, "point_coords": [[1.5, 2.5]], "crop_box": [0, 0, 6, 4]}
        for mask, iou in zip(MASKS, predicted_iou, strict=True)
    ]  # fmt: skip


def assert_read(path, scores=SCORES):
    found = read_mask_file(path, HW)
    assert found.masks.dtype == bool and np.array_equal(found.masks, MASKS)
    assert found.scores.dtype == np.float32 and found.scores.tolist() == list(scores)


class TestNpz:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
    def test_arrays(self, tmp_path, dtype):
        np.savez(tmp_path / "a.npz", masks=MASKS.astype(dtype) * dtype(1), scores=SCORES, other=[1])
        assert_read(tmp_path / "a.npz")
        np.savez(tmp_path / "b.npz", masks=MASKS.astype(np.uint8) * 255)
        assert_read(tmp_path / "b.npz", [1, 1, 1])

    def test_saved_masks_come_back(self, tmp_path):
        save_masks(tmp_path / "new" / "a.npz", MASKS, SCORES)
        assert_read(tmp_path / "new" / "a.npz")
        save_masks(tmp_path / "b.npz", list(MASKS))
        assert_read(tmp_path / "b.npz", [1, 1, 1])
        save_masks(tmp_path / "none.npz", MASKS[:0])
        none = read_mask_file(tmp_path / "none.npz", HW)
        assert none.masks.shape == (0, *HW) and none.scores.shape == (0,)

    @pytest.mark.parametrize("encode", [lambda mask: mask, run_length], ids=["arrays", "run-length"])
    def test_sams_list_of_dicts(self, tmp_path, encode):
        save_masks(tmp_path / "a.npz", sam_dicts(encode=encode))
        assert_read(tmp_path / "a.npz")
        save_masks(tmp_path / "b.npz", sam_dicts([0.5, 1.02, 0.25], encode))  # SAM's predicted IoU exceeds 1
        assert_read(tmp_path / "b.npz", [0.5, 1.0, 0.25])
        save_masks(tmp_path / "c.npz", sam_dicts(encode=encode), [0.0, 0.5, 1.0])
        assert_read(tmp_path / "c.npz", [0.0, 0.5, 1.0])

    def test_pickles_are_not_read(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "ran"), "w"))

        np.savez(tmp_path / "dicts.npz", masks=np.array([Evil(), *sam_dicts()[1:]], dtype=object))
        with pytest.raises(ValueError, match=r"dicts.npz holds pickled Python objects.*save_masks\(path, masks\)"):
            read_mask_file(tmp_path / "dicts.npz", HW)
        (tmp_path / "plain.npz").write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match="plain.npz is damaged or no NPZ archive"):
            read_mask_file(tmp_path / "plain.npz", HW)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "arrays, message",
        [
            ({"mask": MASKS}, "has no array 'masks' .*but mask"),
            ({"masks": MASKS[:, :3]}, r"a.npz is 6x3 pixels, but the image is 6x4 \(width x height\)"),
            ({"masks": MASKS[0]}, r"are bool \(4, 6\); expected \(N, H, W\)"),
            ({"masks": MASKS.astype(np.float32)}, "are float32 .*Compare logits"),
            ({"masks": MASKS, "scores": [0.5]}, r"has 3 masks, but scores of shape \(1,\)"),
            ({"masks": MASKS, "scores": [0.5, 0.5, 1.5]}, r"outside of \[0, 1\]: 0.5 to 1.5"),
            ({"masks": MASKS, "scores": [0.5, np.nan, 0.5]}, r"outside of \[0, 1\]"),
            ({"masks": MASKS, "scores": ["a", "b", "c"]}, "scores of .*a.npz are no numbers"),
        ],
    )
    def test_unfit_arrays(self, tmp_path, arrays, message):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match=message):
            read_mask_file(tmp_path / "a.npz", HW)

    def test_damaged_archives(self, tmp_path):
        save_masks(tmp_path / "a.npz", MASKS)
        content = (tmp_path / "a.npz").read_bytes()
        (tmp_path / "cut.npz").write_bytes(content[:-30])
        (tmp_path / "empty.npz").write_bytes(b"")
        (tmp_path / "bits.npz").write_bytes(content[:60] + bytes(20) + content[80:])
        with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
            archive.writestr("masks.npy", b"no array")
        for name in ("cut", "empty", "bits", "zip"):
            with pytest.raises(ValueError, match=f"{name}.npz is (a )?damaged|{name}.npz has no array") as caught:
                read_mask_file(tmp_path / f"{name}.npz", HW)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "name, masks, message",
        [
            ("a.npy", MASKS, "saved as .npz, got .*a.npy"),
            ("a.npz", [], r"pass an array of shape \(0, H, W\)"),
            ("a.npz", [{"area": 3}], "first mask has no size"),
            ("a.npz", MASKS.astype(float), "are float64"),
        ],
    )
    def test_what_is_not_saved(self, tmp_path, name, masks, message):
        with pytest.raises(ValueError, match=message):
            save_masks(tmp_path / name, masks)
        assert not (tmp_path / name).exists()


class TestJson:
    def write(self, tmp_path, content):
        (tmp_path / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "a.json"

    def test_sams_list_of_dicts(self, tmp_path):
        assert_read(self.write(tmp_path, sam_dicts(encode=run_length)))

    def test_sa_1b(self, tmp_path):
        image = {"image_id": 7, "width": 6, "height": 4, "file_name": "sa_7.jpg"}
        assert_read(self.write(tmp_path, {"image": image, "annotations": sam_dicts(encode=run_length)}))

    def test_coco_results(self, tmp_path):
        results = [
            {"image_id": 7, "category_id": 1, "segmentation": run_length(mask), "score": score}
            for mask, score in zip(MASKS, SCORES, strict=True)
        ]
        results[2]["segmentation"] = RUNS
        assert_read(self.write(tmp_path, results))

    def test_a_score_that_was_added_to_sams_dicts_counts(self, tmp_path):
        entries = sam_dicts([0.9, 0.9, 0.9], encode=run_length)
        for entry, score in zip(entries, SCORES, strict=True):
            entry["score"] = score
        assert_read(self.write(tmp_path, entries))
        save_masks(tmp_path / "a.npz", entries)
        assert_read(tmp_path / "a.npz")

    def test_run_lengths_alone(self, tmp_path):
        assert_read(self.write(tmp_path, [run_length(mask) for mask in MASKS]), [1, 1, 1])

    def test_without_scores(self, tmp_path):
        assert_read(self.write(tmp_path, [{"segmentation": run_length(mask)} for mask in MASKS]), [1, 1, 1])
        assert len(read_mask_file(self.write(tmp_path, []), HW).masks) == 0

    @pytest.mark.parametrize(
        "content, message",
        [
            ("[{", "a.json is damaged or truncated"),
            ("[" * 100_000, "a.json cannot be read: it is nested too deeply"),
            ("3", "a.json holds no list of masks"),
            ({"image": {}}, "a.json holds no list of masks"),
            ([3], "a.json holds no list of masks"),
            ([{"score": 1}], "annotation of .*a.json has no mask"),
            (
                [{"segmentation": {"size": [4, 5], "counts": [20]}}],
                "mask of .*a.json is 5x4 pixels, but the image is 6x4",
            ),
            ([{"segmentation": RUNS, "score": 1.5}], r"outside of \[0, 1\]"),
            ([{"segmentation": RUNS, "score": 1}, {"segmentation": RUNS}], "1 of 2 masks of .* have no 'score'"),
            ([{"segmentation": RUNS, "score": "high"}], "are no numbers"),
        ],
    )
    def test_unfit_content(self, tmp_path, content, message):
        with pytest.raises(ValueError, match=message):
            read_mask_file(self.write(tmp_path, content), HW)


class TestPngs:
    @pytest.fixture
    def folder(self, tmp_path):
        """Named as by SAM's amg.py, of which 10.png must not come before 2.png."""
        for number, mask in zip((0, 2, 10), MASKS, strict=True):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{number}.png")
        return tmp_path

    def test_without_scores(self, folder):
        assert_read(folder, [1, 1, 1])

    @pytest.mark.parametrize("column", ["predicted_iou", "score"])
    def test_table_of_scores(self, folder, column):
        rows = zip((10, 0, 2), (1.0, 0.5, 0.25), strict=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["id", "area", column], *([number, 3, score] for number, score in rows)])
        assert_read(folder)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
    def test_modes(self, tmp_path, mode):
        image = Image.fromarray(MASKS[0].astype(np.uint16)) if mode == "I;16" else Image.new(mode, HW[::-1])
        if mode != "I;16":
            image.putdata([int(inside) for inside in MASKS[0].flatten()])
        image.save(tmp_path / "mask.png")
        assert np.array_equal(read_mask_file(tmp_path, HW).masks, MASKS[:1])

    def test_faults(self, folder):
        (folder / "metadata.csv").write_text("id,predicted_iou\n0,0.5\n")
        with pytest.raises(ValueError, match="metadata.csv has no row with the 'id' of 2.png, 10.png"):
            read_mask_file(folder, HW)
        with pytest.raises(ValueError, match="0.png is 6x4 pixels, but the image is 5x4"):
            read_mask_file(folder, (4, 5))
        (folder / "0.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match="0.png cannot be read"):
            read_mask_file(folder, HW)
        Image.new("RGB", (6, 4)).save(folder / "0.png")
        with pytest.raises(ValueError, match="0.png has mode RGB; expected one channel"):
            read_mask_file(folder, HW)

    def test_a_folder_without_masks(self, tmp_path):
        with pytest.raises(ValueError, match="has no PNG; expected one per mask"):
            read_mask_file(tmp_path, HW)
        (tmp_path / "metadata.csv").write_text("id,predicted_iou\n")  # amg.py on an image without masks
        assert read_mask_file(tmp_path, HW).masks.shape == (0, *HW)


def test_other_files(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="a.pkl has an unknown suffix; expected .npz or .json, or a folder"):
        read_mask_file(tmp_path / "a.pkl", HW)
    with pytest.raises(FileNotFoundError, match="b.npz does not exist"):
        read_mask_file(tmp_path / "b.npz", HW)
