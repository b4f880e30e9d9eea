"""Every kind of damage to a prepared miniature dataset fails a check; without damage all checks pass."""

import re
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from masqclip_d2.cli.check_data import main
from masqclip_d2.data import registration
from masqclip_d2.data.preparation import prepare
from masqclip_d2.data.registration import register_semantic
from masqclip_d2.diagnostics.datasets import check_dataset
from masqclip_d2.shapes import registration as registration_of_shapes
from tests.original_formats import (
    ADE_VAL,
    read_json,
    write_ade20k,
    write_ade20k_full,
    write_coco_instances,
    write_coco_panoptic,
    write_image,
    write_json,
    write_lvis,
    write_pascal_context,
    write_pascal_voc,
    write_pixels,
)

WRITERS = {
    "ade20k": write_ade20k,
    "ade20k_full": write_ade20k_full,
    "coco": write_coco_panoptic,
    "coco_split": write_coco_instances,
    "pascal_context": write_pascal_context,
    "pascal_voc": write_pascal_voc,
}
REGISTRATIONS = {"coco": "register_coco_panoptic"}
NAMES = {
    "ade20k": ["ade20k_sem_seg_val", "ade20k_instance_val", "ade20k_panoptic_val"],
    "ade20k_full": ["ade20k_full_sem_seg_val"],
    "coco": ["coco_panoptic_val"],
    "coco_split": ["coco_instance_val_base48", "coco_instance_val_instances65"],
    "pascal_context": ["pascal_context_59_sem_seg_val", "pascal_context_459_sem_seg_val"],
    "pascal_voc": ["pascal_voc_20_sem_seg_val", "pascal_voc_21_sem_seg_val"],
}


def register(preparation, root, prefix):
    """Register as if the published sets had one validation image."""
    function = getattr(registration, REGISTRATIONS.get(preparation, f"register_{preparation}"))
    for name in function(root, prefix=prefix):
        metadata = MetadataCatalog.get(name)
        if hasattr(metadata, "published_images"):
            del metadata.published_images
            metadata.published_images = (1,)


def prepared(preparation, root, prefix):
    WRITERS[preparation](root)
    prepare(preparation, root, splits=["val"], progress=False)
    register(preparation, root, prefix)


def failures(name):
    return [(result.subject, result.message) for result in check_dataset(name) if not result.ok]


@pytest.mark.parametrize("preparation", NAMES)
def test_prepared_datasets_pass_all_checks(preparation, tmp_path, capsys):
    prefix = f"right_{preparation}_"
    prepared(preparation, tmp_path, prefix)
    names = [prefix + name for name in NAMES[preparation]]
    main(names)
    output = capsys.readouterr().out
    assert "FAILED" not in output and all(name in output for name in names)
    assert output.endswith(f"{len(names)} of {len(names)} datasets passed all checks.\n")
    assert [result.subject for result in check_dataset(names[0])] == [
        "files",
        "records",
        "images",
        "names",
        "id maps",
        "samples",
        "remark",  # that most categories do not occur
    ]


def test_lvis_and_shapes(tmp_path, shapes_datasets):
    write_lvis(tmp_path)
    registration.register_lvis(tmp_path, prefix="right_")
    assert failures("right_lvis_v1_val") == []
    for name in shapes_datasets.values():
        assert failures(name) == []


def test_a_failed_check_sets_the_exit_code(tmp_path, capsys):
    prepared("pascal_voc", tmp_path, "code_")
    shutil.rmtree(tmp_path / "pascal_voc_d2" / "annotations_pascal21")
    with pytest.raises(SystemExit) as caught:
        main(["code_pascal_voc_2?_sem_seg_val"])
    assert caught.value.code == 1
    output = capsys.readouterr().out
    assert "1 of 2 datasets passed all checks." in output
    (line,) = [line for line in output.splitlines() if "FAILED" in line]
    assert f"prepare it with: masqclip prepare pascal_voc --root {tmp_path}" in line


def test_images_that_are_rendered_in_training_need_no_files(forget):
    def register(name, evaluator_type):
        DatasetCatalog.register(name, lambda: [{"file_name": "", "kind": "photo"}])
        MetadataCatalog.get(name).set(image_root="", evaluator_type=evaluator_type)
        return check_dataset(name)

    assert all(result.ok for result in register("my_captions", "masqclip_captions"))
    assert not all(result.ok for result in register("my_masks", "sem_seg"))


def test_an_alias_and_an_unknown_name(capsys):
    with pytest.raises(SystemExit):
        main(["openvocab_pascal_ctx59_sem_seg_val"])
    assert "annotations_ctx59/validation" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["pictures_*"])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert "No registered dataset matches 'pictures_*'. Registered: " in error
    assert "--import FILE" in error


def damage_ade20k(folder, what):
    """Damage the prepared folder of ADE20K; the subject and message of the check that must fail."""
    labels = folder / "annotations_detectron2" / "validation"
    image = folder / "images" / "validation" / f"{ADE_VAL}.jpg"
    panoptic = folder / "ade20k_panoptic_val.json"
    if what == "label out of range":
        write_pixels(labels / f"{ADE_VAL}.png", [[150] * 4] * 3)
        return "samples", rf"holds the label 150, but labels are 0..149.*move {labels} away and prepare it with"
    if what == "not reduced by one":
        shutil.copy(folder / "annotations" / "validation" / f"{ADE_VAL}.png", labels)
        write_pixels(labels / f"{ADE_VAL}.png", [[150, 0, 1, 2]] * 3)
        return "samples", "holds the label 150"
    if what == "wrong mode":
        write_pixels(labels / f"{ADE_VAL}.png", np.zeros((3, 4, 3)))
        return "samples", "has mode RGB; expected one channel"
    if what == "other size":
        write_image(image, 5, 3)
        return "samples", r"jpg is 5x3, but 4x3 in its record"
    if what == "missing image":
        image.unlink()
        return "names", "1 of 3 files are missing, the first being .*images/validation/"
    if what == "too few":
        metadata = MetadataCatalog.get(f"{folder.parent.name}_ade20k_panoptic_val")
        del metadata.published_images
        metadata.published_images = (2000,)
        return (
            "images",
            "found 1 labelled images, need 2000 as published; .* incomplete. To fix it, prepare",
        )
    content = read_json(panoptic)
    if what == "ids of another kind":
        content["categories"] = [{"id": i, "name": f"{i}"} for i in range(150)]
    if what == "id not in the table":
        content["annotations"][0]["segments_info"][0]["category_id"] = 150
    write_json(panoptic, content)
    return {
        "ids of another kind": ("id maps", r"other names for 150 of 150 category ids, such as 0: '0', which .* 'wall'"),
        "id not in the table": ("records", "has category id 150, which is not among the 150 categories of the dataset"),
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        "label out of range",
        "not reduced by one",
        "wrong mode",
        "other size",
        "missing image",
        "too few",
        "ids of another kind",
        "id not in the table",
    ],
)
def test_each_kind_of_damage_fails_a_check(tmp_path, what):
    prefix = f"{tmp_path.name}_"
    prepared("ade20k", tmp_path, prefix)
    subject, pattern = damage_ade20k(tmp_path / "ADEChallengeData2016", what)
    found = failures(f"{prefix}ade20k_panoptic_val")
    assert re.search(pattern, dict(found)[subject]), found
    assert all("\n" not in text for _, text in found)


def test_what_a_run_leaves_out_is_a_remark(tmp_path, capsys):
    prepared("ade20k", tmp_path, "pop_")
    panoptic = tmp_path / "ADEChallengeData2016" / "ade20k_panoptic_val.json"
    content = read_json(panoptic)
    content["annotations"][0]["segments_info"].pop()
    write_json(panoptic, content)
    main(["pop_ade20k_panoptic_val"])
    assert re.search(r"note +remark +1 segments have pixels but are not listed, in 1 pan", capsys.readouterr().out)


def test_the_default_says_how_much_it_saw_and_all_sees_everything(tmp_path, capsys, forget):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for number in range(70):
            write_pixels(tmp_path / folder / f"{number:02d}.png", np.full((4, 4), number % 3))
    register_semantic("seventy", tmp_path / "images", tmp_path / "labels", "a,b,c,d")
    write_pixels(tmp_path / "labels" / "06.png", np.full((4, 4), 9))  # not in the sample
    main(["seventy"])
    captured = capsys.readouterr()
    assert "64 of 70 images read (--all: every image), 3 categories in them; 00.png: 4x4" in captured.out
    assert captured.err == ""
    with pytest.raises(SystemExit):
        main(["--all", "seventy"])
    captured = capsys.readouterr()
    assert "06.png holds the label 9, but labels are 0..3" in captured.out
    assert "seventy: 100%" in captured.err and "70/70" in captured.err
    write_pixels(tmp_path / "labels" / "06.png", np.full((4, 4), 2))
    main(["--all", "seventy"])
    captured = capsys.readouterr()
    assert "all 70 images read, 3 categories in them" in captured.out
    assert "note    remark   1 of 4 categories never occur in the ground truth: d" in captured.out


def test_an_interrupted_preparation_names_the_command_that_resumes_it(tmp_path):
    folder = write_ade20k(tmp_path)
    (folder / "annotations" / "validation" / f"{ADE_VAL}.png").write_bytes(b"damaged")
    with pytest.raises(ValueError):
        prepare("ade20k", tmp_path, splits=["val"], progress=False)
    register("ade20k", tmp_path, "half_checked_")
    ((subject, message),) = failures("half_checked_ade20k_sem_seg_val")
    assert subject == "files"
    assert "was interrupted; resume it with: masqclip prepare ade20k --root" in message


def test_missing_files_of_shapes_fail_with_the_command_that_renders_them(tmp_path):
    registration_of_shapes.register_shapes(tmp_path / "shapes", prefix="lacking_")
    ((subject, message),) = failures("lacking_shapes_val")
    assert subject == "files" and "panoptic_val.json; render it with: masqclip make-shapes" in message


def test_missing_files_that_are_not_needed_are_reported(tmp_path):
    DatasetCatalog.register("without_instances", lambda: [{"file_name": "a.png"}])
    MetadataCatalog.get("without_instances").json_file = str(tmp_path / "nowhere.json")
    result = check_dataset("without_instances")[0]
    DatasetCatalog.remove("without_instances")
    assert result.ok and result.message.startswith("not needed to read the dataset, and not there: ")


@pytest.mark.parametrize("order, supported", [("ours", True), ("OVSeg's", False)])
def test_the_order_of_pascal_contexts_59_categories(tmp_path, order, supported):
    prepared("pascal_context", tmp_path, "unused_" + order[:1])
    prepared_root, ovseg_root = (
        tmp_path / "pascal_ctx_d2",
        tmp_path / "VOCdevkit" / "VOC2010" / "annotations_detectron2",
    )
    for number in (59, 459):
        shutil.copytree(prepared_root / f"annotations_ctx{number}" / "validation", ovseg_root / f"pc{number}_val")
    # An aeroplane, id 0 in both orders; an accordion, which is in neither; bags.
    write_pixels(ovseg_root / "pc459_val" / "2008_000008.tif", [[1, 0, 8], [8, 8, 8]], np.uint16)
    bag = 1 if order == "ours" else 20
    write_pixels(ovseg_root / "pc59_val" / "2008_000008.png", [[0, 255, bag], [bag, bag, bag]])
    shutil.rmtree(prepared_root)
    register("pascal_context", tmp_path, f"order_{order[:1]}_")
    found = {f.subject: f for f in check_dataset(f"order_{order[:1]}_pascal_context_59_sem_seg_val")}
    assert found["class order"].ok is supported
    if not supported:
        assert "have OVSeg's order, which is not supported" in found["class order"].message
    shutil.rmtree(ovseg_root / "pc459_val")
    found = {f.subject: f for f in check_dataset(f"order_{order[:1]}_pascal_context_59_sem_seg_val")}
    assert found["class order"].message.startswith("unknown: ")
