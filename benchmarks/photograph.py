#!/usr/bin/env python
"""A photograph from start to segments with models of full size and random weights: time of each part, and memory.

    python benchmarks/photograph.py                         # the preset photos: Mask2Former R-50, CLIP ViT-L/14@336px
    python benchmarks/photograph.py --dtype bf16            # on CPUs with bfloat16 instructions, or a GPU
    python benchmarks/photograph.py --config shapes/maskclip_worma --height 90 --width 120

Writes weights of all sizes of the configuration to a temporary folder, as large as the released ones: the proposer as
Detectron2's .pkl with 133 classes, CLIP in float16. Then, in a fresh process: import, build and load; one image,
panoptic, COCO's 133 categories; and other categories on the encoded image, at the first time and again, when their
text embeddings are in the cache. CPU seconds of one thread by default.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NUM_CLASSES = 133  # of COCO panoptic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="photos/photos")
    parser.add_argument("--height", type=int, default=800, help="pixels of the image")
    parser.add_argument("--width", type=int, default=1216)
    parser.add_argument("--templates", default="name", help="set of prompt templates")
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        measure(args)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    with tempfile.TemporaryDirectory() as folder:
        write_weights(args.config, Path(folder))
        environment["MASQCLIP_TEXT_CACHE"] = str(Path(folder) / "texts")
        command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
        subprocess.run(command, check=True, env=environment)


def write_weights(config: str, folder: Path) -> None:
    """Random weights of the configuration's CLIP and proposer, as proposer.pkl and clip.safetensors."""
    import torch

    from masqclip_d2.clip import ClipArchitecture, build_clip, load_clip, save_clip
    from masqclip_d2.clip.pretrained import OPENAI_MODELS
    from masqclip_d2.config import load_config
    from masqclip_d2.proposer import build_proposer

    torch.manual_seed(0)
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(NUM_CLASSES)])
    name = cfg.MODEL.MASQCLIP.CLIP.NAME
    clip = build_clip(ClipArchitecture.from_name(name)) if name in OPENAI_MODELS else load_clip(name)
    save_clip(folder / "clip.safetensors", clip, torch.float16)
    tensors = {f"proposer.{name}": tensor.numpy() for name, tensor in build_proposer(cfg).state_dict().items()}
    with (folder / "proposer.pkl").open("wb") as file:
        pickle.dump({"model": tensors, "__author__": "random"}, file)


def measure(args) -> None:
    """Print time and memory of each part."""
    clock = Clock()
    from masqclip_d2 import Predictor
    from masqclip_d2.vocabulary import load_vocabulary

    clock.lap("import")
    opts = ["MODEL.MASQCLIP.CLIP.NAME", str(args.folder / "clip.safetensors"), "MODEL.DEVICE", "cpu"]
    opts += ["MODEL.MASQCLIP.TEXT.TEMPLATES", args.templates, "MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS", ""]
    predictor = Predictor(args.config, args.folder / "proposer.pkl", opts=opts, dtype=args.dtype)
    clock.lap("build and load")
    print(f"start: {clock.total:.2f} s, peak {peak():.2f} GB ({clock})")

    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (args.height, args.width, 3), dtype=np.uint8)
    names = load_vocabulary("coco_panoptic/maskclip")
    predictor.model.class_log_probs(predictor.encode(image[:64, :64]).mask_embeddings, None, names)  # warm
    parts = Parts(predictor.model)
    clock = Clock()
    encoded = predictor.encode(image)
    clock.lap("encode")
    predictor.predict(encoded, names)
    clock.lap("predict")
    full = clock.total
    print(f"{args.height} x {args.width} pixels, panoptic, {len(names)} categories, {args.dtype}: {full:.2f} s "
          f"({clock}; {parts}), peak {peak():.2f} GB")  # fmt: skip

    others = [f"thing number {index}" for index in range(NUM_CLASSES)]
    for occasion in ("first time", "again"):
        clock = Clock()
        predictor.predict(encoded, others)
        clock.lap("")
        print(f"{len(others)} other categories on the encoded image, {occasion}: {clock.total:.3f} s, "
              f"{clock.total / full:.1%} of a full run")  # fmt: skip


class Clock:
    """CPU seconds of this process since the last lap, by name."""

    def __init__(self) -> None:
        self._last, self.laps = time.process_time(), {}

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.laps[name], self._last = now - self._last, now

    @property
    def total(self) -> float:
        return sum(self.laps.values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.laps.items())


class Parts:
    """CPU seconds inside of the networks of a model."""

    def __init__(self, model) -> None:
        named = {"backbone": "proposer.backbone", "pixel decoder": "proposer.sem_seg_head.pixel_decoder",
                 "mask decoder": "proposer.sem_seg_head.predictor", "CLIP": "visual_encoder"}  # fmt: skip
        self._seconds = dict.fromkeys(named, 0.0)
        for name, path in named.items():
            module = model.get_submodule(path)
            module.register_forward_pre_hook(lambda *_, name=name: self._add(name, -time.process_time()))
            module.register_forward_hook(lambda *_, name=name: self._add(name, time.process_time()))

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] += seconds

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self._seconds.items())


def peak() -> float:
    """Largest resident memory of this process so far, in GB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


if __name__ == "__main__":
    main()
