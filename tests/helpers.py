"""Builders that several tests share: a tiny model, a tiny vocabulary, a small Shapes folder."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from detectron2.modeling import build_model

from masqclip_d2 import Predictor
from masqclip_d2.config import load_config
from masqclip_d2.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parent.parent  # of the checkout
# A two-layer CLIP of width 32 for 32 x 32 pixels.
TINY_CLIP = {
    "image_resolution": 32,
    "patch_size": 8,
    "vision_width": 32,
    "vision_layers": 2,
    "vision_heads": 2,
    "embed_dim": 16,
    "text_width": 32,
    "text_layers": 1,
    "text_heads": 2,
    "context_length": 16,
    "vocab_size": 1024,
    "activation": "quick_gelu",
}
# Sizes of OpenAI's ViT-L/14@336px.
VIT_L_336 = {
    "image_resolution": 336, "patch_size": 14, "vision_width": 1024, "vision_layers": 24, "vision_heads": 16,
    "embed_dim": 768, "text_width": 768, "text_layers": 12, "text_heads": 12, "context_length": 77,
    "vocab_size": 49408, "activation": "quick_gelu",
}  # fmt: skip
# The smallest proposer that the head admits.
TINY_PROPOSER = [
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1",
    "MODEL.MASK_FORMER.DEC_LAYERS", "2",
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "6",
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD", "64",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
    "MODEL.MASQCLIP.PROPOSER.ENCODER_FFN_DIM", "64",
    "MODEL.SHAPES.BACKBONE_WIDTHS", "[16, 16, 32, 32]",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES", "['res2', 'res3', 'res4', 'res5']",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", "['res3', 'res4', 'res5']",
    "MODEL.DEVICE", "cpu",
]  # fmt: skip
# The same for Mask R-CNN, beside `TINY_PROPOSER`.
TINY_MASK_RCNN = [
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.ANCHOR_SIZES", "[8, 16, 32, 64, 128]",
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.CHANNELS", "16",
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.BOX_HEAD_DIM", "32",
    "MODEL.MASQCLIP.PROPOSER.MASK_RCNN.ROIS_PER_IMAGE", "16",
]  # fmt: skip
# A Swin Transformer of the same scale as its backbone.
TINY_SWIN = [
    "MODEL.BACKBONE.NAME", "TimmSwinTransformer",
    "MODEL.SWIN.EMBED_DIM", "16",
    "MODEL.SWIN.DEPTHS", "[2, 1, 1, 1]",
    "MODEL.SWIN.NUM_HEADS", "[1, 1, 2, 2]",
    "MODEL.SWIN.WINDOW_SIZE", "3",
]  # fmt: skip


def tiny_clip_file(folder: Path) -> Path:
    """Architecture of `TINY_CLIP` as a JSON file."""
    path = Path(folder) / "tiny_clip.json"
    path.write_text(json.dumps(TINY_CLIP))
    return path


def tiny_config(folder: Path, meta_architecture: str, *opts: str):
    """A configuration of tiny sizes without any weights; `opts` are further KEY VALUE words."""
    clip = [] if meta_architecture == "MaskProposer" else [
        "MODEL.MASQCLIP.CLIP.NAME", "",
        "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(folder)),
    ]  # fmt: skip
    return load_config(
        "base/shapes",
        [
            "MODEL.META_ARCHITECTURE",
            meta_architecture,
            "OUTPUT_DIR",
            str(folder / "output"),
            *TINY_PROPOSER,
            *clip,
            *opts,
        ],
    )


def tiny_predictor(folder: Path, meta_architecture: str, *opts: str) -> Predictor:
    """A predictor of `tiny_config` sizes with random weights."""
    clip = ["MODEL.MASQCLIP.CLIP.NAME", "", "MODEL.MASQCLIP.CLIP.ARCHITECTURE", str(tiny_clip_file(folder))]
    return Predictor("base/shapes", opts=["MODEL.META_ARCHITECTURE", meta_architecture, *TINY_PROPOSER, *clip, *opts])


def build_without_values(config: str, *opts: str) -> torch.nn.Module:
    """A model on the CPU whose tensors hold anything: the random ones of a full-size model take seconds."""
    with torch.device("meta"):
        model = build_model(load_config(config, [*opts, "MODEL.DEVICE", "meta"]))
    return model.to_empty(device="cpu")


def five_categories() -> Vocabulary:
    """Five categories, the last two stuff."""
    return Vocabulary.from_names("striped circle,dotted star,plain cross", stuff="grass,sky")


def random_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(3, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def write_torchscript(clip, path: Path) -> None:
    """Write an archive of OpenAI's layout: parameters under their names, three integers, a method."""

    class Node(torch.nn.Module):
        pass

    root = Node()
    for name, tensor in clip.openai_state_dict().items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, Node())
            node = getattr(node, parent)
        node.register_parameter(leaf, torch.nn.Parameter(tensor.clone(), requires_grad=False))
    for name, value in (
        ("input_resolution", clip.architecture.image_resolution),
        ("context_length", clip.architecture.context_length),
        ("vocab_size", clip.architecture.vocab_size),
    ):
        root.register_buffer(name, torch.tensor(value))
    torch.jit.script(root).save(str(path))


def published_name(name: str, kind: str, rma_layers=(5, 11, 17, 23)) -> str:
    """Our name of a tensor -> the published one, written down a second time and the other way round."""
    name = name.removeprefix("proposer.")
    if not name.startswith("visual_encoder."):
        return name
    name = name.removeprefix("visual_encoder.")
    parts = name.split(".")
    if parts[0] == "mask_attentions":
        layer, what = int(parts[1]), ".".join(parts[2:-1])
        attention = f"visual.transformer.resblocks.{layer}.attn"
        index = rma_layers.index(layer) if layer in rma_layers else None
        name = {
            "mask_query_proj": f"{attention}.new_q_proj",
            "mask_norm": f"{attention}.q_prime_norm_added_params",
            "key_proj": f"{attention}.k_prime_proj_weight_added_params",
            "mask_patch_proj": f"visual.transformer.conv1_added_params.{index}",
            "refinement.proj": f"visual.transformer.conv3_added_params.{index}",
        }[what] + f".{parts[-1]}"
    return f"{kind}.{name}"


@contextlib.contextmanager
def started_server(verb: str, what: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process of `masqclip app` or `serve` and its address; `what` begins the line that has it."""
    command = [sys.executable, "-m", "masqclip_d2", verb, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process, re.match(rf"{what}: (http://127.0.0.1:\d+) ", process.stdout.readline())[1]
    finally:
        process.kill()
