from masqclip_d2.labelling.shards import (
    JOURNALS,
    Failure,
    Shard,
    ShardSummary,
    finished_shards,
    plan_shards,
    remove_unfinished,
)
from masqclip_d2.labelling.sources import ImageSource

IMAGES = [ImageSource(f"in/{index}.png", f"{index}.png") for index in range(10)]


def plan(done=(), failed=(), size=3, workers=1):
    shards = plan_shards(IMAGES, set(done), set(failed), size, workers)
    return ["".join(image.name[0] for image in shard.images) for shard in shards]


def test_names_depend_on_the_images_alone():
    first, second = plan_shards(IMAGES, set(), set(), 5, 1)
    assert Shard(tuple(IMAGES[:5])).name == first.name != second.name
    assert Shard.from_json(first.to_json()) == first
    moved = tuple(ImageSource(f"elsewhere/{image.name}", image.name) for image in IMAGES[:5])
    assert Shard(moved).name != first.name


def test_finished_images_are_left_out_and_failed_ones_are_last():
    assert plan() == ["012", "345", "678", "9"]
    done = ["in/3.png", "in/4.png", "in/5.png"]
    assert plan(done) == ["012", "678", "9"]  # the other shards stay the same
    assert plan(["in/3.png", "in/5.png"], failed=["in/4.png"]) == ["012", "678", "94"]
    assert plan([image.location for image in IMAGES]) == []


def test_every_worker_has_some_shards():
    assert [len(names) for names in plan(size=None, workers=1)] == [3, 3, 3, 1]
    assert [len(names) for names in plan(size=None, workers=2)] == [2] * 5
    many = [ImageSource(str(index), str(index)) for index in range(5001)]
    assert {len(shard.images) for shard in plan_shards(many, set(), set(), None, 2)} == {500, 1}


def test_finished_shards_are_read_back_and_others_are_removed(tmp_path):
    summary = ShardSummary("shard-1", ["in/0.png"], [Failure("in/1.png", "It is damaged.")])
    summary.save(tmp_path / "shard-1")
    ShardSummary("shard-2").save(tmp_path / "shard-2.7.abc.tmp")
    (tmp_path / JOURNALS).mkdir()
    assert list(finished_shards(tmp_path)) == [summary]
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shard-1"]
