import pytest

from masqclip_d2.labelling.sources import find_sources, read_source


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"pixels")


def names(tmp_path, *patterns, recursive=False):
    found = find_sources([str(tmp_path / pattern) for pattern in patterns], recursive, tmp_path / "out")
    assert len({image.name for image in found}) == len(found) == len({image.location for image in found})
    return [image.name for image in found]


def test_folders_globs_and_lists_name_an_image_once(tmp_path):
    touch(tmp_path, "a.jpg", "sub/b.png", "sub/a.jpg", "out/shard-1/a_labels.png")
    assert names(tmp_path, "", recursive=True) == ["a.jpg", "sub/a.jpg", "sub/b.png"]  # no results of earlier runs
    assert names(tmp_path, "a.jpg", "*.jpg", "sub/../a.jpg") == ["a.jpg"]
    (tmp_path / "list.txt").write_text("sub/b.png\n\n../elsewhere/c.png\ns3://bucket/d/e:f.jpg\n  a.jpg\n")
    found = find_sources([str(tmp_path / "list.txt")], False, tmp_path / "out")
    assert [image.name for image in found] == ["sub/b.png", "elsewhere/c.png", "bucket/d/ef.jpg", "a.jpg"]
    assert found[0].location == str(tmp_path / "sub/b.png") and found[2].location == "s3://bucket/d/e:f.jpg"


def test_images_in_the_output_folder_are_left_out_with_a_reason(tmp_path):
    touch(tmp_path, "a.jpg")
    with pytest.raises(FileNotFoundError, match="No images match --input .* Those in --output are left out"):
        find_sources([str(tmp_path)], False, tmp_path)


def test_equal_names_of_two_folders_become_paths(tmp_path):
    touch(tmp_path, "x/a.jpg", "y/a.jpg", "y/b.jpg")
    assert names(tmp_path, "x", "y") == [f"{tmp_path}/x/a.jpg"[1:], f"{tmp_path}/y/a.jpg"[1:], "b.jpg"]


def test_names_that_differ_in_colons_only_are_told_apart(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffx:1.png\r\nx1.png\r\n", encoding="utf-8")  # as Windows' editors write it
    first, second = find_sources([str(tmp_path / "list.txt")], False, tmp_path / "out")
    assert first.location == f"{tmp_path}/x:1.png" and first.name != second.name
    assert all(one.name.endswith(".png") and "/x1~" in one.name for one in (first, second))


def test_tables_name_images_in_a_column(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"id": [1, 2, 3], "url": ["a.jpg", None, "s3://b/c.jpg"]}), tmp_path / "t.parquet")
    assert names(tmp_path, "t.parquet") == ["a.jpg", "b/c.jpg"]
    parquet.write_table(arrow.table({"id": [1]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="no column with images; its columns are id, expected one of path, image,"):
        names(tmp_path, "t.parquet")
    parquet.write_table(arrow.table({"image": [b"1"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="column 'image' is of type binary; expected paths or URLs"):
        names(tmp_path, "t.parquet")
    (tmp_path / "t.parquet").write_text("id,url")
    with pytest.raises(ValueError, match=r"t\.parquet is no Parquet file"):
        names(tmp_path, "t.parquet")


def test_urls_are_listed_and_read(tmp_path):
    pytest.importorskip("pyarrow")
    touch(tmp_path, "in/a b.jpg", "in/sub/b.png", "in/.hidden/c.png", "in/notes.txt")
    url = f"file://{tmp_path}/in"
    found = find_sources([url], True, tmp_path / "out")
    assert [image.name for image in found] == ["a b.jpg", "sub/b.png"]
    assert [image.name for image in find_sources([url], False, tmp_path / "out")] == ["a b.jpg"]
    assert read_source(found[1].location) == b"pixels" and read_source("in/a.jpg") == "in/a.jpg"
    assert [image.name for image in find_sources([found[1].location], False, tmp_path)] == ["b.png"]
    with pytest.raises(FileNotFoundError, match="there is neither an image nor a folder of this name"):
        find_sources([f"{url}/missing"], False, tmp_path)


def test_inputs_without_images(tmp_path):
    touch(tmp_path, "notes.md", "list.txt")
    for pattern, message in (("none.txt", r"none\.txt does not exist"), ("", "No images match"), ("a.gif", "no image")):
        with pytest.raises(FileNotFoundError, match=message):
            names(tmp_path, pattern)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"list\.txt is no UTF-8 text"):
        names(tmp_path, "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(FileNotFoundError, match=r"No images match --input \S+list\.txt"):
        names(tmp_path, "list.txt")
