"""Segment an image with an exported model: numpy, Pillow and onnxruntime only, no PyTorch.

masqclip export --output output/export --parts whole --vocab "striped circle,dotted star" --stuff "grass,water"
python examples/onnx_without_torch.py output/export masqclip_d2/shapes/samples/shapes_1.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def segment(folder, image):
    """[(category, score, mask)] of a PIL image, best first; masks (height, width) bool do not overlap.

    The rules of `Predictor(image, categories)`, except that several segments of a stuff category stay apart.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    texts, after = np.load(folder / "vocabulary.npz"), manifest["postprocessing"]
    rule, (width, height) = manifest["preprocessing"]["resize"], image.size
    scale = rule["shorter_side"] / min(image.size) if rule["shorter_side"] else 1
    scale = min(scale, (rule["longest_side"] or 1e9) / max(image.size))
    pixels = np.asarray(image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR))
    session = onnxruntime.InferenceSession(folder / "whole.onnx", providers=["CPUExecutionProvider"])
    inputs = {"image": pixels, "text_embeddings": texts["text_embeddings"]}
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))

    columns, num_categories = texts["column_of_row"], len(texts["names"])
    logits = np.stack([found["class_logits"][:, columns == c].max(1) for c in range(columns.max() + 1)], 1)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    scores = probs[:, :num_categories].max(1)
    last = None if after["extra_class_rejects"] or not after["extra_class"] else -1
    keep = scores >= probs[:, num_categories:last].max(1, initial=0)  # no background prompt is more probable
    scores *= found["object_scores"] if after["use_object_score"] else 1
    keep = np.flatnonzero(keep & (scores > after["object_threshold"]))

    low_height, low_width = found["mask_logits"].shape[1:]
    part = np.array([low_width, low_height]) * pixels.shape[1::-1] / found["mask_extent"][::-1]  # without padding
    masks = [Image.fromarray(found["mask_logits"][q]) for q in keep]
    masks = [np.asarray(mask.resize(image.size, Image.Resampling.BILINEAR, box=(0, 0, *part))) for mask in masks]
    winner = np.argmax([scores[q] / (1 + np.exp(-mask)) for q, mask in zip(keep, masks, strict=True)] or [0], 0)
    won = [(winner == index) & (mask >= 0) for index, mask in enumerate(masks)]
    share = after["overlap_threshold"]  # of its mask that a segment must win
    visible = [area.any() and area.sum() >= share * (mask >= 0).sum() for mask, area in zip(masks, won, strict=True)]
    rows = [(q, area) for q, area, is_visible in zip(keep, won, visible, strict=True) if is_visible]
    names = texts["names"][probs[:, :num_categories].argmax(1)]
    return sorted(((str(names[q]), float(scores[q]), area) for q, area in rows), key=lambda row: -row[1])


if __name__ == "__main__":
    for category, score, mask in segment(Path(sys.argv[1]), Image.open(sys.argv[2]).convert("RGB")):
        print(f"{category}: score {score:.2f}, {mask.sum()} pixels")
