import pytest

from masqclip_d2.data.manifest import FINISHED, MANIFEST, UNFINISHED, is_unfinished, read_states, set_state


def test_states_of_outputs(tmp_path):
    assert read_states(tmp_path) == {}
    set_state(tmp_path, ["labels/val", "val.json"], UNFINISHED)
    set_state(tmp_path, ["val.json"], FINISHED)
    assert read_states(tmp_path) == {"labels/val": UNFINISHED, "val.json": FINISHED}
    assert is_unfinished(tmp_path / "labels" / "val")
    assert not is_unfinished(tmp_path / "val.json") and not is_unfinished(tmp_path / "labels" / "train")


@pytest.mark.parametrize("content", ['{"name": "somebody else"}', "{", "[]"])
def test_a_file_of_that_name_from_another_tool(tmp_path, content):
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=f"{MANIFEST} is damaged or was not written by the preparation"):
        read_states(tmp_path)
