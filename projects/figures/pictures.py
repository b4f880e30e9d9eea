"""Figures of what models answer on Shapes; each function takes models and writes one PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masqclip_d2.categories import load_categories
from masqclip_d2.evaluation.proposal_recall import mask_iou
from masqclip_d2.losses.pseudo_masks import PseudoMaskRules, choose_pseudo_masks
from masqclip_d2.meta_arch.maskclip import MaskCLIP
from masqclip_d2.predictor import Predictor
from masqclip_d2.segmentation import Segmentation
from masqclip_d2.shapes.rendering import Scene
from masqclip_d2.vocabulary import Vocabulary
from projects.figures.drawing import Colors, Mark, panel, panel_side, sheet, write_png
from projects.figures.scenes import first_scenes, record, scenes, segment_masks, shapes_vocabulary, things

_FOUND_IOU = 0.5  # a mask that overlaps an object more than this is that object's
_LIGHT = (255, 255, 255)
_MIN_OBJECT = 24  # pixels, longer side; below, a few pixels decide
_COUNTED_SCENES = 50  # that are looked at
_MARGIN = 1.5  # side of a close view, relative to its object's


@torch.no_grad()
def draw_proposals(proposer: nn.Module, path: Path, columns: int = 4, best: int = 8) -> None:
    """Validation scenes, the best proposals of each, and how many segments all of them find.

    Args:
        proposer: a `MaskProposer` or the like, in eval mode.
        path: PNG to write.
        columns: scenes.
        best: proposals that are shown; one that repeats a better one is left out.
    """
    side = panel_side(columns)
    images, found, captions = [], [], []
    num_proposals = 0
    for scene in first_scenes(columns, "val", lambda scene: len(things(scene)) >= 3):
        masks = proposer([record(scene)])[0]["proposals"].pred_masks.cpu()
        num_proposals = max(num_proposals, len(masks))
        truth = torch.from_numpy(np.stack([mask for _, mask in segment_masks(scene)]))
        num_found = int((mask_iou(masks, truth) > _FOUND_IOU).any(0).sum())
        images.append(panel(scene.image, [], side))
        shown = masks[_without_repetitions(masks)[:best]]
        color = Colors()
        marks = [Mark(mask.numpy(), color[str(index)]) for index, mask in enumerate(shown)]
        # Large ones first, so that they do not hide the others.
        found.append(panel(scene.image, sorted(marks, key=lambda mark: -int(mark.mask.sum())), side))
        captions.append(f"{num_found} of {len(truth)} segments found")
    titles = [
        "Scenes",
        f"The {best} best proposals, without repetitions; below: segments that one of {num_proposals} finds (IoU above "
        f"{_FOUND_IOU})",
    ]
    write_png(sheet([images, found], titles, [[""] * columns, captions]), path)


@torch.no_grad()
def draw_pseudo_masks(teacher: nn.Module, rules: PseudoMaskRules, path: Path, columns: int = 4) -> None:
    """What Progressive Distillation adds: training scenes, their base masks, and the teacher's pseudo masks.

    The scenes with the most pseudo masks of the first fifty are shown. A pseudo mask carries the word of the novel
    segment that it finds, which neither teacher nor student is told.

    Args:
        teacher: a `MaskProposer` in eval mode.
        rules: when its masks become pseudo masks.
        path: PNG to write.
        columns: scenes.
    """
    side = panel_side(columns)
    found = [(scene, *_pseudo_masks(teacher, rules, scene)) for scene in islice(scenes("train"), _COUNTED_SCENES)]
    num_novel = sum(segment.category.novel for scene, *_ in found for segment in scene.segments)
    words = [word for *_, words in found for word in words]
    shown = sorted(found, key=lambda one: -len(one[2]))[:columns]  # stable: the earlier of equals
    images, drawn = [], []
    for scene, base, pseudo, words_of_scene in shown:
        color = Colors()
        marks = [Mark(mask, _LIGHT) for mask in base]
        marks += [
            Mark(mask, color[str(index)], word or "?", bool(word))
            for index, (mask, word) in enumerate(zip(pseudo, words_of_scene, strict=True))
        ]
        images.append(panel(scene.image, [], side))
        drawn.append(panel(scene.image, marks, side))
    titles = [
        f"Training scenes: the {columns} of {_COUNTED_SCENES} with the most pseudo masks",
        f"Base masks (white) and the teacher's pseudo masks (coloured). Of {len(words)} in all {_COUNTED_SCENES} "
        f"scenes {sum(map(bool, words))} find one of {num_novel} novel segments (IoU above {_FOUND_IOU}), whose word "
        "they carry here; the others: ?",
    ]
    write_png(sheet([images, drawn], titles), path)


@torch.no_grad()
def draw_refinement(model: MaskCLIP, path: Path, columns: int = 6) -> None:
    """Coarse and refined masks of things in validation scenes, beside the truth.

    Of each scene the first thing of 24 pixels and more that a proposal finds is shown, whatever becomes of it.

    Args:
        model: MaskCLIP with RMA that refines masks, in eval mode.
        path: PNG to write.
        columns: things.

    Raises:
        ValueError: the model does not refine masks, or its proposals find nothing.
    """
    side = panel_side(columns)
    blue, orange, green = (40, 110, 255), (255, 140, 0), (0, 170, 90)
    rows: list[list] = [[], [], [], []]
    captions: list[list[str]] = [[], [], [], []]
    for image, coarse, refined, truth in islice(_refined_things(model), columns):
        window = _window(truth)
        drawn = [([], ""), ([Mark(coarse[window], blue)], coarse), ([Mark(refined[window], orange)], refined)]
        drawn.append(([Mark(truth[window], green)], ""))
        for row, below, (marks, mask) in zip(rows, captions, drawn, strict=True):
            row.append(panel(image[window], marks, side))
            below.append("" if isinstance(mask, str) else f"IoU {_iou(mask, truth):.0%}")
    if not rows[0]:
        raise ValueError(f"No proposal finds a thing in {_COUNTED_SCENES} scenes; train the proposer longer.")
    write_png(sheet(rows, ["Image", "Coarse masks (proposals)", "Masks refined by RMA", "Truth"], captions), path)


def draw_panoptic(predictor: Predictor, name: str, path: Path, columns: int = 3) -> None:
    """Panoptic truth and results on validation scenes with base and novel things.

    Args:
        predictor: the method.
        name: what to call it.
        path: PNG to write.
        columns: scenes.
    """
    side = panel_side(columns)
    vocabulary = shapes_vocabulary()
    color = Colors()

    def wanted(scene: Scene) -> bool:
        return 2 <= len(things(scene)) <= 4 and len({category.novel for category in things(scene)}) == 2

    truth, results = [], []
    for scene in first_scenes(columns, "val", wanted):
        segments = segment_masks(scene)
        marks = [Mark(mask, color[category.name], category.name, category.novel) for category, mask in segments]
        truth.append(panel(scene.image, marks, side))
        answer = predictor(scene.image, vocabulary)
        results.append(panel(scene.image, _marks_of(answer, color), side))
    titles = ["Truth (novel words orange)", f"{name}, asked for all {len(vocabulary)} words of Shapes"]
    write_png(sheet([truth, results], titles), path)


def draw_demo(predictor: Predictor, images: Sequence[Path], vocabulary: Vocabulary, path: Path) -> None:
    """Pictures segmented by free words.

    Args:
        predictor: the method.
        images: files, one column each.
        vocabulary: the words.
        path: PNG to write.
    """
    side = panel_side(len(images))
    color = Colors()
    answers = [predictor(image, vocabulary) for image in images]
    pictures = [panel(answer.image, [], side) for answer in answers]
    results = [panel(answer.image, _marks_of(answer, color), side) for answer in answers]
    titles = ["Pictures", f"Asked for (orange: novel words): {', '.join(vocabulary.names)}"]
    write_png(sheet([pictures, results], titles), path)


def _marks_of(answer: Segmentation, color: Colors) -> list[Mark]:
    novel = {category.name for category in load_categories("shapes") if category.novel}
    return [
        Mark(segment.mask, color[segment.label], segment.label, segment.label in novel)
        for segment in sorted(answer.segments, key=lambda segment: segment.isthing)
    ]


def _without_repetitions(masks: Tensor) -> list[int]:
    """Indices of masks (Q, H, W), best first, that overlap no better one of them much."""
    iou = mask_iou(masks, masks)
    kept: list[int] = []
    for index in range(len(masks)):
        if not (iou[index, kept] > _FOUND_IOU).any():
            kept.append(index)
    return kept


def _pseudo_masks(teacher: nn.Module, rules: PseudoMaskRules, scene: Scene) -> tuple[list, list, list[str]]:
    """Base masks, pseudo masks, and for each of these the word of the novel segment that it finds, or ""."""
    answer = teacher([record(scene)])[0]["proposals"]
    segments = segment_masks(scene)
    base = [mask for category, mask in segments if not category.novel]
    base_masks = (
        torch.from_numpy(np.stack(base)) if base else torch.zeros(0, *scene.segment_map.shape, dtype=torch.bool)
    )
    generator = torch.Generator().manual_seed(0)

    def draw_points(num_sets: int, num_points: int, device: torch.device) -> Tensor:
        return torch.rand(num_sets, num_points, 2, generator=generator).to(device)

    masks, scores = answer.pred_masks, answer.scores
    kept = choose_pseudo_masks(base_masks.to(masks.device), masks, scores, rules, draw_points).kept
    pseudo = list(masks[kept].cpu().numpy())
    words = []
    for mask in pseudo:
        overlaps = [(_iou(mask, truth), category) for category, truth in segments if category.novel]
        best, category = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        words.append(category.name if best > _FOUND_IOU else "")
    return base, pseudo, words


def _refined_things(model: MaskCLIP) -> Iterator[tuple[NDArray, NDArray, NDArray, NDArray]]:
    """Image, coarse, refined and true mask (H, W) of one thing of each scene in which one is found."""
    for scene in islice(scenes("val"), _COUNTED_SCENES):
        image = record(scene)["image"]
        proposals = model.proposer.propose([{"image": image}])[0]
        refined = model.encode({"image": image}, proposals).proposals
        if refined is proposals:
            raise ValueError("This model does not refine masks: give MaskCLIP with RMA.LAYERS and RMA.REFINE_MASKS.")
        before, after = ((masks.resized(image.shape[-2:]) > 0).cpu() for masks in (proposals, refined))
        for (_, truth), segment in zip(segment_masks(scene), scene.segments, strict=True):
            overlap = mask_iou(before, torch.from_numpy(truth)[None])[:, 0]
            if segment.object_size >= _MIN_OBJECT and overlap.max() > _FOUND_IOU:
                best = int(overlap.argmax())
                yield scene.image, before[best].numpy(), after[best].numpy(), truth
                break


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The box of a mask with a margin, as square as the image allows."""
    ys, xs = np.nonzero(mask)
    side = round(_MARGIN * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    window = []
    for values, size in ((ys, mask.shape[0]), (xs, mask.shape[1])):
        start = min(max((int(values.min()) + int(values.max()) + 1 - side) // 2, 0), max(size - side, 0))
        window.append(slice(start, min(start + side, size)))
    return window[0], window[1]


def _iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((mask & other).sum() / max((mask | other).sum(), 1))
