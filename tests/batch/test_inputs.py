import pytest

from masqclip_d2.batch.inputs import find_images


def test_inputs_are_files_folders_and_globs(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt", "._a.jpg", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()  # no image
    assert [path.name for path in find_images([str(tmp_path)])] == ["a.jpg", "b.png"]
    assert [path.name for path in find_images([str(tmp_path / "*.png")])] == ["b.png"]
    missing = str(tmp_path / "missing.png")
    assert find_images([missing, str(tmp_path)])[0].name == "missing.png"  # reported when it is read
    with pytest.raises(FileNotFoundError, match=r"There is no image \S+missing.png, \S+missing.png\."):
        find_images([missing, missing])
    with pytest.raises(FileNotFoundError, match="No images match"):
        find_images([str(tmp_path / "*.gif")])
