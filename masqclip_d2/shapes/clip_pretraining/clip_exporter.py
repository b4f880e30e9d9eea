"""ClipExporter: the hook that writes the trained CLIP at the end of stage `clip_pretraining`."""

from __future__ import annotations

import logging
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from ...clip import ClipModel, save_clip

CLIP_FILE = "clip.safetensors"  # in OUTPUT_DIR


class ClipExporter(HookBase):
    """Writes OUTPUT_DIR/clip.safetensors after training, for MODEL.MASQCLIP.CLIP.NAME of the next stages."""

    def __init__(self, clip: ClipModel, output_dir: str) -> None:
        self._clip = clip
        self._path = Path(output_dir) / CLIP_FILE

    def after_train(self) -> None:
        if comm.is_main_process() and self.trainer.iter >= self.trainer.max_iter:  # not after an interruption
            save_clip(self._path, self._clip)
            logging.getLogger(__name__).info("Wrote %s.", self._path)
