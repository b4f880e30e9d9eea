"""Every known directory layout is read, the first one found is used, and missing files are reported with a fix."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.data import registration
from tests.original_formats import scores_of_the_ground_truth, write_image, write_pixels

STEM = "2008_000008"
# Name without prefix and split, folder, and in it the folders of images and of labels with their suffix.
_TABLE = """
ade20k ADEChallengeData2016 images/validation annotations_detectron2/validation.png
ade20k ade/ADEChallengeData2016 images/validation annotations_detectron2/validation.png
ade20k_full ADE20K_2021_17_01 images_detectron2/validation annotations_detectron2/validation.tif
ade20k_full ADE20K_2021_17_01 images/validation annotations_detectron2/validation.tif
ade20k_full ade/ADE20K_2021_17_01 images_detectron2/validation annotations_detectron2/validation.tif
pascal_context_59 pascal_ctx_d2 images/validation annotations_ctx59/validation.png
pascal_context_59 VOCdevkit/VOC2010 JPEGImages annotations_detectron2/pc59_val.png
pascal_context_59 pcontext/val image label.png
pascal_context_59 pascal_context_full images labels_59.png
pascal_context_459 pascal_ctx_d2 images/validation annotations_ctx459/validation.tif
pascal_context_459 VOCdevkit/VOC2010 JPEGImages annotations_detectron2/pc459_val.tif
pascal_context_459 pcontext_full/val image label.tif
pascal_context_459 pascal_context_full images labels_459.tif
pascal_voc_20 pascal_voc_d2 images/validation annotations_pascal20/validation.png
pascal_voc_20 VOCdevkit/VOC2012 images_detectron2/val annotations_detectron2/val.png
pascal_voc_20 VOC2012 images_detectron2/val annotations_detectron2/val.png
pascal_voc_21 pascal_voc_d2 images/validation annotations_pascal21/validation.png
"""
LAYOUTS = [
    (f"{name}_sem_seg_val", f"{folder}/{images}", f"{folder}/{labels[:-4]}", labels[-4:])
    for name, folder, images, labels in (line.split() for line in _TABLE.strip().splitlines())
]


def register_all(root, prefix):
    for register in ("ade20k", "ade20k_full", "pascal_context", "pascal_voc"):
        getattr(registration, f"register_{register}")(root, prefix=prefix)


def write_set(root, images, labels, ending, stem=STEM):
    write_image(root / images / f"{stem}.jpg", 2, 1)
    write_pixels(root / labels / f"{stem}{ending}", [[3, 4]], dtype="uint16" if ending == ".tif" else "uint8")


@pytest.mark.parametrize("number", range(len(LAYOUTS)), ids=[f"{row[0]}-{row[2]}" for row in LAYOUTS])
def test_every_layout_is_read(tmp_path, number):
    name, images, labels, ending = LAYOUTS[number]
    write_set(tmp_path, images, labels, ending)
    if "pascal_context_full" in labels:  # the list names the files of the split; it has no newline at its end
        (tmp_path / "pascal_context_full" / "val.txt").write_text(STEM)
        write_set(tmp_path, images, labels, ending, stem="2008_000009")
    if "JPEGImages" in images:  # images of all splits
        write_image(tmp_path / images / "2008_000002.jpg", 1, 1)
    prefix = f"layout{number}_"
    register_all(tmp_path, prefix)
    (record,) = DatasetCatalog.get(prefix + name)
    assert record == {
        "file_name": str(tmp_path / images / f"{STEM}.jpg"),
        "sem_seg_file_name": str(tmp_path / labels / f"{STEM}{ending}"),
        "image_id": STEM,
    }
    assert scores_of_the_ground_truth(prefix + name)["sem_seg"]["mIoU"] == pytest.approx(100)


def test_the_first_layout_found_is_used(tmp_path):
    for _, images, labels, ending in LAYOUTS[5:9]:
        write_set(tmp_path, images, labels, ending)
    register_all(tmp_path, "first_")
    root = MetadataCatalog.get("first_pascal_context_59_sem_seg_val").sem_seg_root
    assert root == str(tmp_path / LAYOUTS[5][2])


@pytest.mark.parametrize("name", sorted({row[0] for row in LAYOUTS}))
def test_missing_files_are_reported_with_all_searched_paths_and_the_command(tmp_path, name):
    prefix = f"none_{tmp_path.name}_"
    register_all(tmp_path, prefix)
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get(prefix + name)
    message = str(caught.value)
    for _, _, labels, _ in (row for row in LAYOUTS if row[0] == name):
        assert str(tmp_path / labels) in message
    preparation = name.split("_sem_seg")[0].replace("_59", "").replace("_459", "").replace("_20", "").replace("_21", "")
    assert f"prepare it with: masqclip prepare {preparation} --root {tmp_path}" in message
    assert "\n" not in message


def test_a_label_map_without_image_and_a_listed_name_without_label_map(tmp_path):
    _, images, labels, ending = LAYOUTS[8]
    write_set(tmp_path, images, labels, ending)
    listed = tmp_path / "pascal_context_full" / "val.txt"
    listed.write_text(f"{STEM}\n2008_000099\n")
    register_all(tmp_path, "bad_")
    with pytest.raises(ValueError, match=r"val.txt lists 2008_000099, but .*labels_59 has no such label maps"):
        DatasetCatalog.get("bad_pascal_context_59_sem_seg_val")
    listed.write_text(f"{STEM}\n")
    (tmp_path / images / f"{STEM}.jpg").unlink()
    with pytest.raises(ValueError, match=rf"1 label maps of .* have no image .*in .*images: {STEM}"):
        DatasetCatalog.get("bad_pascal_context_59_sem_seg_val")


def test_an_empty_label_folder(tmp_path):
    for folder in LAYOUTS[0][1:3]:
        (tmp_path / folder).mkdir(parents=True)
    register_all(tmp_path, "empty_")
    with pytest.raises(ValueError, match=r"annotations_detectron2/validation has no label maps \(\*.png\)"):
        DatasetCatalog.get("empty_ade20k_sem_seg_val")
