import json
from pathlib import Path

import pytest

from masqclip_d2.batch.inputs import InputImage
from masqclip_d2.batch.outputs import all_files, destinations, refuse_overwriting
from masqclip_d2.results.formats import DEFAULT_FORMATS, find_formats

FORMATS = find_formats(DEFAULT_FORMATS)


def images(*names):
    return [InputImage(Path("in", name), name) for name in names]


def names(*inputs, formats=FORMATS):
    return [one.name for one in destinations(images(*inputs), "out", formats)]


def test_output_is_a_folder_or_one_file():
    [one] = destinations(images("a.png"), "sub/x.jpg", FORMATS)
    assert [str(file) for file in all_files([one], FORMATS)] == ["sub/x.jpg", "sub/x_labels.png", "sub/x.json"]
    assert names("a.png", "trip/b.jpg") == ["a", "trip/b"]
    with pytest.raises(ValueError, match="one file, but there are 2 inputs"):
        destinations(images("a.png", "b.png"), "x.png", FORMATS)


def test_names_do_not_clash():
    assert names("a.jpg", "a.png", "A.JPG", "sub/a.jpg") == ["a", "a_png", "A_JPG", "sub/a"]
    assert names("a.jpg", "a.jpg", "a.jpg") == ["a", "a_jpg", "a_jpg_2"]
    assert names("a.jpg", "a_labels.jpg") == ["a", "a_labels_jpg"]  # a_labels.png is a label map
    assert names("coco.jpg", formats=find_formats("json,coco")) == ["coco_jpg"]  # coco.json is that of all images
    assert names("a.jpg", "a.png", formats=find_formats("coco")) == ["a", "a_png"]


def test_images_of_one_name_are_listed_with_their_folders():
    inputs = [InputImage(Path("x/a.jpg"), "a.jpg"), InputImage(Path("y/a.jpg"), "a.jpg")]
    assert [one.image for one in destinations(inputs, "out", FORMATS)] == ["x/a.jpg", "y/a.jpg"]


@pytest.mark.parametrize(
    ("inputs", "output"),
    [(["a.png", "b.jpg"], "."), (["a.png"], "a.png"), (["a_labels.png"], "a.jpg"), (["sub/../a.png"], "linked")],
)
def test_inputs_are_not_overwritten(tmp_path, monkeypatch, inputs, output):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path)
    found = [InputImage(Path(name), Path(name).name) for name in inputs]
    files = all_files(destinations(found, output, FORMATS), FORMATS)
    with pytest.raises(ValueError, match=r"would overwrite the input \S*a\S*\.png; pass another --output"):
        refuse_overwriting(files, found, own=())


def test_only_results_are_overwritten(tmp_path):
    inputs = [InputImage(tmp_path / "a.jpg", "a.jpg")]
    where = destinations(inputs, str(tmp_path), FORMATS)
    files = all_files(where, FORMATS)
    refuse_overwriting(files, inputs, own=())
    (tmp_path / "a.json").write_text('{"shapes": []}')  # somebody's annotation
    with pytest.raises(ValueError, match=r"would overwrite \S+a\.json, which no earlier run has written"):
        refuse_overwriting(files, inputs, own=())
    refuse_overwriting(files, inputs, own={tmp_path / "a.json"})
    (tmp_path / "a_labels.png").touch()
    ours = {"image": "a.jpg", "vocabulary": [], "segments": [], "label_map": "elsewhere/a_labels.png"}
    (tmp_path / "a.json").write_text(json.dumps(ours))
    refuse_overwriting(files, inputs, own=())
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.png, which"):
        refuse_overwriting(files, inputs, own=())
    refuse_overwriting(files, inputs, own=(), named=[tmp_path / "a.png"])
