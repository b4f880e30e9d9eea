"""The record of a run: what is finished, also after an interruption in the middle of a line."""

import pytest

from masqclip_d2.batch.inputs import InputImage
from masqclip_d2.batch.record import RunRecord
from masqclip_d2.results.formats import Destination

SETTINGS = {"task": "panoptic", "names": ("cat", "dog")}


def rows(folder, count=3):
    """Images and destinations; a result is a text file."""
    found = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        path.write_text("image")
        found.append((InputImage(path, path.name), Destination(folder / "out", str(index), path.name)))
    (folder / "out").mkdir(exist_ok=True)
    return found


def files(destination):
    return [destination.path(".txt")]


def test_finished_images_are_known_to_the_next_process(tmp_path):
    images = rows(tmp_path)
    record = RunRecord(tmp_path / "out")
    record.begin(SETTINGS, [file for _, one in images for file in files(one)], resume=False)
    for image, destination in images[:2]:
        files(destination)[0].write_text("result")
        record.add(image, destination, {"coco": {"number": destination.name}})
    with record.path.open("ab") as file:
        file.write(b'{"name": "2", "sour')  # interrupted
    again = RunRecord(tmp_path / "out")
    again.require_same(SETTINGS)
    again.begin(SETTINGS, [], resume=True)
    assert [again.is_finished(*row, files(row[1])) for row in images] == [True, True, False]
    assert again.own_files == {tmp_path / "out" / f"{index}.txt" for index in range(3)}
    again.add(*images[2], {"coco": {"number": "2"}})
    found = RunRecord(tmp_path / "out")
    where = [destination for _, destination in images]
    assert [entry["number"] for entry in found.entries("coco", where[::-1])] == ["2", "1", "0"]
    assert found.num_finished(where) == 3


@pytest.mark.parametrize("change", ["image", "result", "missing"])
def test_changed_images_and_missing_results_are_made_again(tmp_path, change):
    [(image, destination)] = rows(tmp_path, 1)
    record = RunRecord(tmp_path / "out")
    record.begin(SETTINGS, [], resume=False)
    files(destination)[0].write_text("result")
    record.add(image, destination, {})
    assert record.is_finished(image, destination, files(destination))
    if change == "image":
        image.path.write_text("another image")
    elif change == "missing":
        image.path.unlink()
    else:
        files(destination)[0].unlink()
    assert not record.is_finished(image, destination, files(destination))


def test_results_of_other_settings_are_not_mixed(tmp_path):
    record = RunRecord(tmp_path)
    record.require_same(SETTINGS)  # there are none yet
    record.begin(SETTINGS, [], resume=True)
    with pytest.raises(ValueError, match=r"made with other settings \(task\)\. Pass the same settings"):
        RunRecord(tmp_path).require_same({**SETTINGS, "task": "instance"})
    RunRecord(tmp_path).begin({}, [], resume=False)
    assert RunRecord(tmp_path).settings == {}
