from types import SimpleNamespace

import pytest

from masqclip_d2.clip import build_clip, load_clip
from masqclip_d2.shapes.clip_pretraining.clip_exporter import CLIP_FILE, ClipExporter
from tests.helpers import TINY_CLIP


@pytest.mark.parametrize(("iteration", "is_written"), [(10, True), (9, False)], ids=["finished", "interrupted"])
def test_written_only_after_the_last_iteration(tmp_path, iteration, is_written):
    clip = build_clip(TINY_CLIP)
    exporter = ClipExporter(clip, str(tmp_path))
    exporter.trainer = SimpleNamespace(iter=iteration, max_iter=10)
    exporter.after_train()
    assert (tmp_path / CLIP_FILE).exists() == is_written
    if is_written:
        assert load_clip(tmp_path / CLIP_FILE).architecture == clip.architecture
