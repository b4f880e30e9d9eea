import numpy as np
import pytest
from PIL import Image

from masqclip_d2 import Vocabulary
from masqclip_d2.segment_files import find_images, segment_files, target_paths
from masqclip_d2.segmentation import Segmentation


def test_inputs_are_files_folders_and_globs(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.jpg", "b.png"]
    assert [path.name for path in find_images([str(tmp_path / "*.png")])] == ["b.png"]
    assert find_images([str(tmp_path / "missing.png")])[0].name == "missing.png"  # reported when it is read
    with pytest.raises(FileNotFoundError, match="No images match"):
        find_images([str(tmp_path / "*.gif")])


def test_output_is_a_folder_or_one_file(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    assert target_paths([a], "x.png") == [type(a)("x.png")]
    assert [str(path) for path in target_paths([a, b], "out")] == ["out/a.png", "out/b.png"]
    with pytest.raises(ValueError, match="one file"):
        target_paths([a, b], "x.png")
    with pytest.raises(ValueError, match=r"a\.png"):
        target_paths([a, tmp_path / "sub" / "a.jpg"], "out")
    with pytest.raises(ValueError, match=r"written to a_labels\.png in out"):
        target_paths([a, tmp_path / "a_labels.jpg"], "out")


@pytest.mark.parametrize(
    ("names", "expected"),
    [("dog,cat", "0 segments (none of dog, cat was found)"), (",".join("abcdefghijklm"), "i, j and 3 more was found)")],
)
def test_words_that_were_asked_for_are_printed_when_none_is_found(tmp_path, capsys, names, expected):
    image = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(image)

    def predictor(path, vocabulary, task, confidence_threshold):
        return Segmentation(np.zeros((8, 8, 3), np.uint8), vocabulary, task)

    segment_files(predictor, [image], [tmp_path / "out.png"], Vocabulary.from_names(names))
    assert expected in capsys.readouterr().out
