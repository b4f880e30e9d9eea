"""Figures of model predictions on Shapes; each function takes a model and writes one PNG file."""

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
from masqclip_d2.results import Segmentation
from masqclip_d2.shapes.rendering import Scene
from masqclip_d2.vocabulary import Vocabulary
from projects.figures.drawing import Colors, Mark, panel, panel_side, sheet, write_png
from projects.figures.scenes import first_scenes, record, scenes, segment_masks, shapes_vocabulary, things

_FOUND_IOU = 0.5  # a mask with a larger IoU finds the object
_LIGHT = (255, 255, 255)
_MIN_OBJECT = 24  # pixels, longer side; the IoU of smaller objects depends on a few pixels
_MIN_NOVEL = 2  # things, of a scene that shows pseudo masks
_NUM_SCENES = 50  # from which a figure chooses, and over which it counts
_MARGIN = 1.5  # side of a close view, relative to its object's


@torch.no_grad()
def draw_proposals(proposer: nn.Module, path: Path, columns: int = 4, best: int = 8) -> None:
    """Draw validation scenes with the best proposals of each, and count the segments that all proposals find.

    Args:
        proposer: a model that predicts proposals, such as `MaskProposer`, in eval mode.
        path: PNG to write.
        columns: number of scenes.
        best: number of proposals shown; repetitions of better ones are left out.
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
        # Large masks first, so that they do not hide the others.
        found.append(panel(scene.image, sorted(marks, key=lambda mark: -int(mark.mask.sum())), side))
        captions.append(f"{num_found} of {len(truth)} segments found")
    titles = [
        "Scenes",
        f"The {best} best proposals, without repetitions; below: segments that one of {num_proposals} proposals finds "
        f"(IoU above {_FOUND_IOU})",
    ]
    write_png(sheet([images, found], titles, [[""] * columns, captions]), path)


@torch.no_grad()
def draw_pseudo_masks(teacher: nn.Module, rules: PseudoMaskRules, path: Path, columns: int = 4) -> None:
    """Draw the masks of Progressive Distillation: training scenes with base masks and the teacher's pseudo masks.

    The first scenes with at least `_MIN_NOVEL` novel things of `_MIN_OBJECT` pixels or more are shown; the numbers are
    those of the first `_NUM_SCENES` scenes. A pseudo mask is labelled with the category of the novel segment that it
    finds; teacher and student do not use it.

    Args:
        teacher: a `MaskProposer` in eval mode.
        rules: which of its masks become pseudo masks.
        path: PNG to write.
        columns: number of scenes.
    """
    side = panel_side(columns)
    found = [(scene, *_pseudo_masks(teacher, rules, scene)) for scene in islice(scenes("train"), _NUM_SCENES)]
    num_novel = sum(segment.category.novel for scene, *_ in found for segment in scene.segments)
    names = [name for *_, names_of_scene in found for name in names_of_scene]
    shown = [one for one in found if _num_large_novel(one[0]) >= _MIN_NOVEL][:columns]
    images, drawn = [], []
    for scene, base, pseudo, names_of_scene in shown:
        color = Colors()
        marks = [Mark(mask, _LIGHT) for mask in base]
        marks += [
            Mark(mask, color[str(index)], name or "?", bool(name))
            for index, (mask, name) in enumerate(zip(pseudo, names_of_scene, strict=True))
        ]
        images.append(panel(scene.image, [], side))
        drawn.append(panel(scene.image, marks, side))
    titles = [
        f"Training scenes: the first with at least {_MIN_NOVEL} large novel things",
        f"Base masks (white) and the teacher's pseudo masks (colored). Of {len(names)} pseudo masks in all "
        f"{_NUM_SCENES} scenes {sum(map(bool, names))} find one of {num_novel} novel segments (IoU above {_FOUND_IOU}) "
        "and are labelled with its category; the others: ?",
    ]
    write_png(sheet([images, drawn], titles), path)


def _num_large_novel(scene: Scene) -> int:
    novel = [segment for segment in scene.segments if segment.category.novel]
    return sum(segment.object_size >= _MIN_OBJECT for segment in novel)


@torch.no_grad()
def draw_refinement(model: MaskCLIP, path: Path, columns: int = 6) -> None:
    """Draw coarse and refined masks of things in validation scenes, with the ground truth.

    Of each scene the first thing of at least `_MIN_OBJECT` pixels that a proposal finds is shown, without selection by
    the refined mask.

    Args:
        model: MaskCLIP with RMA that refines masks, in eval mode.
        path: PNG to write.
        columns: number of things.

    Raises:
        ValueError: the model does not refine masks, or its proposals find nothing.
    """
    side = panel_side(columns)
    blue, orange, green = (40, 110, 255), (255, 140, 0), (0, 170, 90)
    rows: list[list] = [[], [], [], []]
    captions: list[list[str]] = [[], [], [], []]
    for image, coarse, refined, gt_mask in islice(_refined_things(model), columns):
        window = _window(gt_mask)
        drawn = [([], ""), ([Mark(coarse[window], blue)], coarse), ([Mark(refined[window], orange)], refined)]
        drawn.append(([Mark(gt_mask[window], green)], ""))
        for row, below, (marks, mask) in zip(rows, captions, drawn, strict=True):
            row.append(panel(image[window], marks, side))
            below.append("" if isinstance(mask, str) else f"IoU {_iou(mask, gt_mask):.0%}")
    if not rows[0]:
        raise ValueError(f"No proposal finds a thing in {_NUM_SCENES} scenes; train the proposer longer.")
    write_png(
        sheet(rows, ["Image", "Coarse masks (proposals)", "Masks refined by RMA", "Ground truth"], captions), path
    )


def draw_panoptic(predictor: Predictor, name: str, path: Path, columns: int = 3) -> None:
    """Draw panoptic ground truth and predictions on validation scenes with base and novel things.

    Args:
        predictor: the method.
        name: of the method, for the title.
        path: PNG to write.
        columns: number of scenes.
    """
    side = panel_side(columns)
    vocabulary = shapes_vocabulary()
    color = Colors()

    def has_base_and_novel_things(scene: Scene) -> bool:
        return 2 <= len(things(scene)) <= 4 and len({category.novel for category in things(scene)}) == 2

    gt_panels, predicted_panels = [], []
    for scene in first_scenes(columns, "val", has_base_and_novel_things):
        segments = segment_masks(scene)
        marks = [Mark(mask, color[category.name], category.name, category.novel) for category, mask in segments]
        gt_panels.append(panel(scene.image, marks, side))
        prediction = predictor(scene.image, vocabulary)
        predicted_panels.append(panel(scene.image, _marks_of(prediction, color), side))
    titles = ["Ground truth (novel categories orange)", f"{name}, with all {len(vocabulary)} categories of Shapes"]
    write_png(sheet([gt_panels, predicted_panels], titles), path)


def draw_demo(predictor: Predictor, images: Sequence[Path], vocabulary: Vocabulary, path: Path) -> None:
    """Draw images segmented with free-text categories.

    Args:
        predictor: the method.
        images: files, one column each.
        vocabulary: the categories.
        path: PNG to write.
    """
    side = panel_side(len(images))
    color = Colors()
    predictions = [predictor(image, vocabulary) for image in images]
    image_panels = [panel(prediction.image, [], side) for prediction in predictions]
    predicted_panels = [panel(prediction.image, _marks_of(prediction, color), side) for prediction in predictions]
    titles = ["Images", f"Categories (orange: novel): {', '.join(vocabulary.names)}"]
    write_png(sheet([image_panels, predicted_panels], titles), path)


def _marks_of(prediction: Segmentation, color: Colors) -> list[Mark]:
    novel = {category.name for category in load_categories("shapes") if category.novel}
    return [
        Mark(segment.mask, color[segment.label], segment.label, segment.label in novel)
        for segment in sorted(prediction.segments, key=lambda segment: segment.isthing)
    ]


def _without_repetitions(masks: Tensor) -> list[int]:
    """Indices of masks (Q, H, W), best first, without those that overlap a better one by more than `_FOUND_IOU`."""
    iou = mask_iou(masks, masks)
    kept: list[int] = []
    for index in range(len(masks)):
        if not (iou[index, kept] > _FOUND_IOU).any():
            kept.append(index)
    return kept


def _pseudo_masks(teacher: nn.Module, rules: PseudoMaskRules, scene: Scene) -> tuple[list, list, list[str]]:
    """Base masks, pseudo masks, and for each pseudo mask the category of the novel segment that it finds, or ""."""
    proposals = teacher([record(scene)])[0]["proposals"]
    segments = segment_masks(scene)
    base = [mask for category, mask in segments if not category.novel]
    base_masks = (
        torch.from_numpy(np.stack(base)) if base else torch.zeros(0, *scene.segment_map.shape, dtype=torch.bool)
    )
    generator = torch.Generator().manual_seed(0)

    def draw_points(num_sets: int, num_points: int, device: torch.device) -> Tensor:
        return torch.rand(num_sets, num_points, 2, generator=generator).to(device)

    masks, scores = proposals.pred_masks, proposals.scores
    kept = choose_pseudo_masks(base_masks.to(masks.device), masks, scores, rules, draw_points).kept
    pseudo = list(masks[kept].cpu().numpy())
    names = []
    for mask in pseudo:
        overlaps = [(_iou(mask, gt_mask), category.name) for category, gt_mask in segments if category.novel]
        best, name = max(overlaps, default=(0.0, ""))
        names.append(name if best > _FOUND_IOU else "")
    return base, pseudo, names


def _refined_things(model: MaskCLIP) -> Iterator[tuple[NDArray, NDArray, NDArray, NDArray]]:
    """Yield image, coarse, refined and ground-truth mask (H, W) of one thing of each scene in which one is found."""
    for scene in islice(scenes("val"), _NUM_SCENES):
        image = record(scene)["image"]
        proposals = model.proposer.propose([{"image": image}])[0]
        refined = model.encode({"image": image}, proposals).proposals
        if refined is proposals:
            raise ValueError("This model does not refine masks; use MaskCLIP with RMA.LAYERS and RMA.REFINE_MASKS.")
        before, after = ((masks.resized(image.shape[-2:]) > 0).cpu() for masks in (proposals, refined))
        for (_, gt_mask), segment in zip(segment_masks(scene), scene.segments, strict=True):
            overlap = mask_iou(before, torch.from_numpy(gt_mask)[None])[:, 0]
            if segment.object_size >= _MIN_OBJECT and overlap.max() > _FOUND_IOU:
                best = int(overlap.argmax())
                yield scene.image, before[best].numpy(), after[best].numpy(), gt_mask
                break


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The box of a mask with a margin, square if the image is large enough."""
    ys, xs = np.nonzero(mask)
    side = round(_MARGIN * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    window = []
    for values, size in ((ys, mask.shape[0]), (xs, mask.shape[1])):
        start = min(max((int(values.min()) + int(values.max()) + 1 - side) // 2, 0), max(size - side, 0))
        window.append(slice(start, min(start + side, size)))
    return window[0], window[1]


def _iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((mask & other).sum() / max((mask | other).sum(), 1))
