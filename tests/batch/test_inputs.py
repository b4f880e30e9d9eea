import pytest

from masqclip_d2.batch.inputs import find_images


def test_inputs_are_files_folders_and_globs(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt", "._a.jpg", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()  # no image
    assert [image.name for image in find_images([str(tmp_path)])] == ["a.jpg", "b.png"]
    assert [image.name for image in find_images([str(tmp_path / "*.png")])] == ["b.png"]
    missing = str(tmp_path / "missing.png")
    assert find_images([missing, str(tmp_path)])[0].name == "missing.png"  # reported when it is read
    with pytest.raises(FileNotFoundError, match=r"There is no image \S+missing.png\."):
        find_images([missing, missing])
    with pytest.raises(FileNotFoundError, match="No images match"):
        find_images([str(tmp_path / "*.gif")])


def test_subfolders_globs_and_repeated_files(tmp_path):
    for name in ("b.png", "sub/a.jpg", "sub/deep/c.png", ".hidden/d.png", "other/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(*patterns, **options):
        return [image.name for image in find_images([str(tmp_path / pattern) for pattern in patterns], **options)]

    assert names("") == ["b.png"]
    assert names("", recursive=True) == ["b.png", "other/b.png", "sub/a.jpg", "sub/deep/c.png"]
    assert names("**/*.png") == ["b.png", "other/b.png", "sub/deep/c.png"] and names("sub/*/c.png") == ["deep/c.png"]
    assert names("b.png", "", "sub/../b.png") == ["b.png"]
    assert names("", recursive=True, exclude={tmp_path / "sub" / "a.jpg", tmp_path / "b.png"}) == [
        "other/b.png", "sub/deep/c.png",
    ]  # fmt: skip
    (tmp_path / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="No images match .* Add --recursive for those in its subfolders"):
        names("")
