import pytest
from PIL import Image

from masqclip_d2.batch.plan import plan_batch
from masqclip_d2.results.formats import find_formats


def test_the_tree_is_kept_and_results_are_no_inputs(tmp_path):
    for name in ("a.jpg", "trip/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    formats = find_formats("labels")
    for _ in range(2):
        batch = plan_batch([str(tmp_path)], str(tmp_path / "out"), formats, recursive=True)
        assert [image.name for image in batch.inputs] == ["a.jpg", "trip/b.jpg"]
        batch.begin({}, resume=False)
        for destination in batch.destinations:
            for file in batch.files(destination):
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8)).save(file)
    assert (tmp_path / "out" / "trip" / "b_labels.png").is_file()


def test_bad_outputs(tmp_path):
    image = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(ValueError, match="--save coco writes files of all images; pass a folder"):
        plan_batch([str(image)], str(tmp_path / "x.png"), find_formats("coco"))
    with pytest.raises(ValueError, match="cannot be created: Not a directory"):
        plan_batch([str(image)], str(image / "out"), find_formats("labels"))
    with pytest.raises(ValueError, match="--resume needs a folder"):
        plan_batch([str(image)], str(tmp_path / "x.png"), find_formats("labels")).require_resumable({})
