import pytest

from masqclip_d2.labelling.journal import Journal


def attempt(path, *takes):
    """A worker that is killed after it took these images."""
    journal = Journal(path)
    for indices in takes:
        journal.take(indices)
    return journal


def test_the_image_that_kills_workers_is_found(tmp_path):
    path = tmp_path / "journals" / "a.jsonl"
    journal = attempt(path, [0, 1, 2, 3, 4, 5], [3, 4, 5])
    assert journal.batches(8, 3) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    second = attempt(path)
    assert second.batches(8, 3) == [[0, 1, 2], [3], [4], [5], [6, 7]]
    second.take([3])
    second.take([4])
    with path.open("a") as file:
        file.write("[5")  # killed while it wrote
    third = attempt(path)
    assert third.batches(8, 3) == [[0, 1, 2], [3], [5], [6, 7]] and third.num_starts == 3
    assert [index for index in range(8) if third.is_left_out(index)] == [4]
    third.close()
    assert Journal(path).batches(3, 3) == [[0, 1, 2]]


def test_workers_that_never_begin_end_the_run(tmp_path):
    for _ in range(5):
        Journal(tmp_path / "a").require_progress()
    with pytest.raises(RuntimeError, match="5 workers were killed while they loaded the model"):
        Journal(tmp_path / "a").require_progress()
