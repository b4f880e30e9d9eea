import json
from pathlib import Path

import pytest

from masqclip_d2.data.chunks import collected, in_chunks, run_chunks


class Work:
    """Double a number; log each call; fail on the item `broken`."""

    def __init__(self, folder: Path, broken=None):
        self.folder, self.broken = folder, broken

    def __call__(self, item):
        if item == self.broken:
            raise ValueError(f"item {item} is broken")
        with open(self.folder / f"trace_{item}", "a") as file:
            file.write("x")
        return 2 * item  # a list is repeated


def calls(folder):
    return {int(path.name.removeprefix("trace_")): len(path.read_text()) for path in folder.glob("trace_*")}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_records_are_in_order(tmp_path, num_workers):
    chunks = in_chunks(Work(tmp_path), range(70), tmp_path / "parts", "p")
    assert [len(chunk.items) for chunk in chunks] == [32, 32, 6]
    run_chunks(chunks, "test", num_workers=num_workers, progress=False)
    assert collected(chunks) == [2 * i for i in range(70)]


def test_finished_chunks_are_not_processed_again(tmp_path):
    broken = in_chunks(Work(tmp_path, broken=40), range(70), tmp_path / "parts", "p")
    with pytest.raises(ValueError, match="item 40 is broken"):
        run_chunks(broken, "test", progress=False)
    mended = in_chunks(Work(tmp_path), range(70), tmp_path / "parts", "p")
    run_chunks(mended, "test", progress=False)
    assert collected(mended) == [2 * i for i in range(70)]
    counted = calls(tmp_path)
    assert all(counted[i] == 1 for i in range(32)) and counted[33] == 2


def test_a_part_of_other_items_is_ignored(tmp_path):
    run_chunks(in_chunks(Work(tmp_path), [1, 2], tmp_path / "parts", "p"), "test", progress=False)
    chunks = in_chunks(Work(tmp_path), [1, 3], tmp_path / "parts", "p")
    run_chunks(chunks, "test", progress=False)
    assert collected(chunks) == [2, 6] and calls(tmp_path) == {1: 2, 2: 1, 3: 1}


def test_a_part_is_plain_json(tmp_path):
    (chunk,) = in_chunks(Work(tmp_path), [[4], [5]][:1], tmp_path / "parts", "p")
    chunk.run()
    assert json.loads((tmp_path / "parts" / "p_00000000.json").read_text())["records"] == [[4, 4]]


def test_nothing_to_do(tmp_path):
    run_chunks([], "test", num_workers=2, progress=False)
    assert collected([]) == []
