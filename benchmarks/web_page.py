#!/usr/bin/env python
"""The web page on one CPU thread: time of a first answer, and of other categories for the same image.

    python benchmarks/web_page.py            # the shipped toy model, an image of 256 x 352 pixels
    python benchmarks/web_page.py --full     # the preset photos, random weights of full size, 1216 x 800 pixels

Checks of the image, networks, text embeddings, HTML with outlines and table: what the page does for a visitor, without
the browser. CPU seconds.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

FIRST = ["checkered square", "ringed star"]
# One new name, three, one, and none.
OTHERS = (["checkered square", "plain cross"], ["dotted star", "zigzag circle", "ringed square"], ["striped crescent"],
          ["ringed star", "plain cross"])  # fmt: skip
STUFF = ["brick", "sand"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a model of full size with random weights")
    args = parser.parse_args()
    from masqclip_d2 import Predictor
    from masqclip_d2.batch.inputs import SAMPLES

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MASQCLIP_TEXT_CACHE"] = str(Path(folder, "texts"))
        image = SAMPLES / "shapes_2.png"
        if args.full:
            predictor, image = full_size(Path(folder))
        else:
            predictor = Predictor(device="cpu")
        first, others, saving = measure(predictor, image, Path(folder))
    share = sum(others) / len(others) / first
    listed = ", ".join(f"{seconds:.3f}" for seconds in others)
    print(f"first answer {first:.3f} s; other categories {listed} s, {share:.1%} of it; files {saving:.2f} s")


def full_size(folder: Path):
    """The preset photos with random weights, and a photograph-sized image of noise."""
    import numpy as np
    from PIL import Image

    from benchmarks.photograph import write_weights
    from masqclip_d2 import Predictor

    write_weights("photos/photos", folder)
    opts = ["MODEL.MASQCLIP.CLIP.NAME", str(folder / "clip.safetensors"), "MODEL.DEVICE", "cpu"]
    opts += ["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD", "0.0"]  # random weights find nothing otherwise
    opts += ["MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS", ""]  # they take a minute at the start only
    pixels = np.random.default_rng(0).integers(0, 256, (100, 152, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((1216, 800)).save(folder / "image.jpg")
    predictor = Predictor("photos/photos", folder / "proposer.pkl", opts=opts)
    encode: Any = predictor.encode
    predictor.encode = lambda *arguments: with_smooth_masks(encode(*arguments))
    return predictor, folder / "image.jpg"


def with_smooth_masks(encoded):
    """The encoded image with masks like those of objects; random weights cut noise, with endless outlines."""
    import torch
    from torch.nn import functional as F

    found = encoded.proposals
    coarse = torch.randn(1, len(found), 6, 9, generator=torch.Generator().manual_seed(0)) * 6 - 6
    logits = F.interpolate(coarse, found.mask_logits.shape[-2:], mode="bicubic")[0]
    return replace(encoded, proposals=replace(found, mask_logits=logits))


def measure(predictor, image: Path, folder: Path) -> tuple[float, list[float], float]:
    """CPU seconds of a first answer, of those for other categories, and of the files of a result."""
    from masqclip_d2.batch.inputs import SAMPLES
    from masqclip_d2.web.limits import Limits
    from masqclip_d2.web.models import Models
    from masqclip_d2.web.uploads import Upload
    from masqclip_d2.web.visits import Request, Visits
    from masqclip_d2.web.worker import Worker

    worker = Worker(Models({"model": lambda: predictor}, 1), Limits())
    visits, upload = Visits(worker, folder / "results"), Upload(image, image.name)

    def seconds(function, *arguments):
        begin = time.process_time()
        result = function(*arguments)
        return time.process_time() - begin, result

    small = SAMPLES / "shapes_1.png"
    visits.segment(Request("warm", Upload(small, small.name), ["cat"]))
    first, found = seconds(visits.segment, Request("me", upload, FIRST, STUFF))
    others = [seconds(visits.segment, Request("me", upload, names, STUFF))[0] for names in OTHERS]
    visits.save("me", found)  # finds fonts
    saving, _ = seconds(visits.save, "me", found)
    worker.stop()
    return first, others, saving


if __name__ == "__main__":
    main()
