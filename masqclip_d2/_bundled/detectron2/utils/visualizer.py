"""Drawing of masks, boxes and labels on an image, with Pillow only.

Coordinates are pixels (x, y) of the original image, for any `scale`. Colors are RGB in [0, 1] or matplotlib names;
metadata colors are RGB in 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, unique
from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, polygons_to_bitmask
from PIL import Image, ImageDraw, ImageFilter

from ._drawing import (
    Color,
    largest_first,
    own_color,
    place_inside,
    read_array,
    rgb_255,
    text_labels,
    to_numpy,
)
from ._text_line import TextLine

__all__ = ["ColorMode", "VisImage", "Visualizer"]

_MIN_FONT_PIXELS = 11.0
_PIXELS_PER_FONT_PIXEL = 50  # sqrt(height * width) of the image per pixel of font height
_LABEL_BACKGROUND = (0, 0, 0, 190)


@unique
class ColorMode(Enum):
    """Colors of instances: one each; one per class; or one each on a gray image."""

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class VisImage:
    """An image to draw on.

    Args:
        img: (H, W, 3) RGB, 0..255.
        scale: scale factor of the output.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        self.scale = scale
        height, width = img.shape[:2]
        self.canvas = Image.fromarray(np.clip(img, 0, 255).astype(np.uint8))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != self.canvas.size:
            self.canvas = self.canvas.resize(size, Image.Resampling.BICUBIC)
        self.width, self.height = size

    def get_image(self) -> np.ndarray:
        """(H * scale, W * scale, 3) uint8 RGB, a copy."""
        return np.array(self.canvas)

    def save(self, filepath: str) -> None:
        """Save the image; the suffix selects the format."""
        self.canvas.save(filepath)


class Visualizer:
    """Draws annotations and predictions on one image; each `draw_*` returns the `VisImage` it draws on, `output`.

    Args:
        img_rgb: (H, W, 3) RGB, 0..255.
        metadata: of the dataset; thing_classes, thing_colors, stuff_classes, stuff_colors are used if present.
        scale: scale factor of the output.
        font_size_scale: factor of the size of all labels.

    `font_of_character` may be set to font files of characters that the default font, DejaVu Sans, lacks; the real
    Detectron2 does not have it.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        self.img = np.clip(np.asarray(img_rgb), 0, 255).astype(np.uint8)
        self.metadata = metadata if metadata is not None else {}
        self.output = VisImage(self.img, scale)
        self._instance_mode = instance_mode
        pixels = np.sqrt(self.output.height * self.output.width)
        self._font_pixels = max(pixels / _PIXELS_PER_FONT_PIXEL, _MIN_FONT_PIXELS) * font_size_scale
        self.font_of_character: Mapping[str, str] = {}
        self._label_boxes: list[tuple[float, float, float, float]] = []

    def draw_instance_predictions(self, predictions: Instances) -> VisImage:
        """Draw `pred_boxes`, `pred_masks`, and labels of `pred_classes` and `scores`, as far as present (CPU)."""
        fields = predictions.get_fields()
        classes = fields["pred_classes"].tolist() if "pred_classes" in fields else None
        scores = fields["scores"].tolist() if "scores" in fields else None
        masks = fields.get("pred_masks")
        by_class = self._instance_mode == ColorMode.SEGMENTATION and classes is not None
        if self._instance_mode == ColorMode.IMAGE_BW and masks is not None:
            self._gray_outside(self._binary_masks(masks))
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            masks=masks,
            labels=text_labels(classes, scores, self.metadata.get("thing_classes", None)),
            assigned_colors=[self._color("thing", category) for category in classes or ()] if by_class else None,
            alpha=0.8 if by_class else 0.5,
        )

    def draw_sem_seg(
        self, sem_seg: np.ndarray | torch.Tensor, area_threshold: float | None = None, alpha: float = 0.8
    ) -> VisImage:
        """Draw an (H, W) map of stuff classes; labels >= len(stuff_classes) are void.

        Args:
            area_threshold: regions with fewer pixels are skipped.
        """
        sem_seg = to_numpy(sem_seg)
        names = self.metadata.get("stuff_classes", None)
        labels, areas = np.unique(sem_seg, return_counts=True)
        for label in labels[np.argsort(-areas, kind="stable")].tolist():
            if label < 0 or (names is not None and label >= len(names)):
                continue
            self.draw_binary_mask(
                sem_seg == label,
                self._color("stuff", label),
                text=str(label) if names is None else names[label],
                alpha=alpha,
                area_threshold=area_threshold,
            )
        return self.output

    def draw_panoptic_seg(
        self,
        panoptic_seg: np.ndarray | torch.Tensor,
        segments_info: list[dict],
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draw an (H, W) map of segment ids; ids missing in `segments_info` are void.

        Args:
            segments_info: per segment "id", "category_id" (contiguous), "isthing", and optionally "score".
            area_threshold: stuff with fewer pixels is skipped.
        """
        panoptic_seg = to_numpy(panoptic_seg)
        if self._instance_mode == ColorMode.IMAGE_BW:
            self._gray_outside([np.isin(panoptic_seg, [segment["id"] for segment in segments_info])])
        stuff = [segment for segment in segments_info if not segment["isthing"]]
        stuff_masks = [panoptic_seg == segment["id"] for segment in stuff]
        for index in largest_first(stuff_masks):
            category = stuff[index]["category_id"]
            self.draw_binary_mask(
                stuff_masks[index],
                self._color("stuff", category),
                text=self._stuff_label(category),
                alpha=alpha,
                area_threshold=area_threshold,
            )
        things = [segment for segment in segments_info if segment["isthing"]]
        categories = [segment["category_id"] for segment in things]
        scores = [segment["score"] for segment in things] if all("score" in segment for segment in things) else None
        return self.overlay_instances(
            masks=[panoptic_seg == segment["id"] for segment in things],
            labels=text_labels(categories, scores, self.metadata.get("thing_classes", None)),
            assigned_colors=[self._color("thing", category) for category in categories],
            alpha=alpha,
        )

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: dict) -> VisImage:
        """Draw the annotations of a standard dataset dict: instances, semantic and panoptic maps, as far as present."""
        annotations = dic.get("annotations")
        if annotations:
            categories = [annotation["category_id"] for annotation in annotations]
            is_crowd = [annotation.get("iscrowd", 0) for annotation in annotations]
            has_masks = all("segmentation" in annotation for annotation in annotations)
            by_class = self._instance_mode == ColorMode.SEGMENTATION
            self.overlay_instances(
                boxes=[
                    BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
                    for annotation in annotations
                ],
                masks=[annotation["segmentation"] for annotation in annotations] if has_masks else None,
                labels=text_labels(categories, None, self.metadata.get("thing_classes", None), is_crowd),
                assigned_colors=[self._color("thing", category) for category in categories] if by_class else None,
            )
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            sem_seg = read_array(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, alpha=0.5)
        if "pan_seg_file_name" in dic:
            red, green, blue = np.moveaxis(read_array(dic["pan_seg_file_name"]).astype(np.int64)[..., :3], -1, 0)
            self.draw_panoptic_seg(red + 256 * green + 256**2 * blue, dic["segments_info"], alpha=0.5)
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Boxes | np.ndarray | Sequence | None = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances, larger ones first, with all labels on top.

        Args:
            boxes: (N, 4) XYXY.
            masks: `BitMasks`, `PolygonMasks`, an (N, H, W) array or tensor, or N items that are each an (H, W) mask,
                an RLE, or a list of flat polygons.
            assigned_colors: N colors; None = a different one each.
        """
        box_list = None if boxes is None else to_numpy(getattr(boxes, "tensor", boxes)).reshape(-1, 4)
        mask_list = None if masks is None else self._binary_masks(masks)
        if mask_list is not None:
            order = largest_first(mask_list)
        elif box_list is not None:
            order = np.argsort(-np.prod(box_list[:, 2:] - box_list[:, :2], axis=1), kind="stable").tolist()
        else:
            return self.output
        colors = assigned_colors if assigned_colors is not None else [own_color(index) for index in range(len(order))]
        for index in order:
            if mask_list is not None:
                self.draw_binary_mask(mask_list[index], colors[index], alpha=alpha, area_threshold=None)
            if box_list is not None and (box_list[index, 2:] > box_list[index, :2]).all():
                self.draw_box(box_list[index], edge_color=colors[index])
        if labels is None:
            return self.output
        for index in order:
            if mask_list is not None and mask_list[index].any():
                self._label_mask(labels[index], mask_list[index], colors[index])
            elif box_list is not None:
                self.draw_text(
                    labels[index], box_list[index, :2].tolist(), color=colors[index], horizontal_alignment="left"
                )
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: Color | None = None,
        *,
        edge_color: Color | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float | None = 10,
    ) -> VisImage:
        """Draw an (H, W) mask with its outline and `text` inside.

        Args:
            color: None = the first color.
            edge_color: None = `color`.
            area_threshold: a mask with fewer pixels is skipped; None = 0.
        """
        binary_mask = np.asarray(binary_mask, dtype=bool)
        area = int(binary_mask.sum())
        if area == 0 or area < (area_threshold or 0):
            return self.output
        color = own_color(0) if color is None else color
        mask = Image.fromarray(binary_mask.astype(np.uint8) * 255)
        if mask.size != self.output.canvas.size:
            mask = mask.resize(self.output.canvas.size, Image.Resampling.BILINEAR)
        self.output.canvas.paste(rgb_255(color), mask=mask.point([round(value * alpha) for value in range(256)]))
        hard = mask.point([255 if value > 127 else 0 for value in range(256)])
        inside = hard.filter(ImageFilter.MinFilter(3))
        outline = Image.fromarray(np.asarray(hard) - np.asarray(inside))
        self.output.canvas.paste(rgb_255(color if edge_color is None else edge_color), mask=outline)
        if text:
            self._label_mask(text, binary_mask, color)
        return self.output

    def draw_box(self, box_coord: Sequence[float], alpha: float = 0.5, edge_color: Color = "g") -> VisImage:
        """Draw the outline of an XYXY box."""
        x0, y0, x1, y1 = (float(value) * self.output.scale for value in box_coord)
        width = max(1, round(self._font_pixels / 6))
        self._draw().rectangle([x0, y0, x1, y1], outline=(*rgb_255(edge_color), round(255 * alpha)), width=width)
        return self.output

    def draw_polygon(
        self, segment: np.ndarray, color: Color, edge_color: Color | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Fill a polygon of (N, 2) points and draw its outline."""
        points = [tuple(point) for point in (np.asarray(segment, np.float64) * self.output.scale).tolist()]
        outline = rgb_255(color if edge_color is None else edge_color)
        self._draw().polygon(points, fill=(*rgb_255(color), round(255 * alpha)), outline=(*outline, 255))
        return self.output

    def draw_text(
        self,
        text: str,
        position: Sequence[float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
    ) -> VisImage:
        """Draw light text on a dark background, moved to fit in the image and to avoid earlier labels.

        Args:
            position: top "center" or top "left" of the text, see `horizontal_alignment`.
            font_size: height in pixels of the original image; None = from the size of the image.
            color: text color, lightened for contrast.
        """
        pixels = self._font_pixels if font_size is None else font_size * self.output.scale
        line = TextLine(text, max(1, round(pixels)), self.font_of_character)
        pad = max(1, round(pixels / 8))
        width, height = (side + 2 * pad for side in line.size)
        x, y = (float(value) * self.output.scale for value in position)
        if horizontal_alignment == "center":
            x -= width / 2
        x = min(max(x, 0), max(self.output.width - width, 0))
        y = self._free_height(x, min(max(y, 0), max(self.output.height - height, 0)), width, height)
        self._label_boxes.append((x, y, x + width, y + height))
        self._draw().rectangle([x, y, x + width - 1, y + height - 1], fill=_LABEL_BACKGROUND)
        light = tuple(160 + value * 95 // 255 for value in rgb_255(color))
        line.draw(self.output.canvas, x + pad, y + pad, light)
        return self.output

    def _label_mask(self, text: str, mask: np.ndarray, color: Color) -> None:
        """Draw `text` in the middle of the widest part of an (H, W) mask."""
        x, y = place_inside(mask)
        self.draw_text(text, (x, y - self._font_pixels / 2 / self.output.scale), color=color)

    def _free_height(self, x: float, y: float, width: float, height: float) -> float:
        """The y nearest to `y`, in steps of a label's height, without overlap; `y` if there is none."""
        lowest = self.output.height - height
        for step in range(int(self.output.height / height) + 1):
            for candidate in (y + step * height, y - step * height):
                is_taken = any(
                    x < x1 and x0 < x + width and candidate < y1 and y0 < candidate + height
                    for x0, y0, x1, y1 in self._label_boxes
                )
                if 0 <= candidate <= lowest and not is_taken:
                    return candidate
        return y

    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.output.canvas, "RGBA")  # blends colors that have an alpha

    def _gray_outside(self, masks: Sequence[np.ndarray]) -> None:
        """Make the image gray outside of all masks."""
        covered = np.any(list(masks), axis=0) if masks else np.zeros(self.img.shape[:2], bool)
        gray = np.broadcast_to(self.img.mean(axis=2, keepdims=True), self.img.shape)
        self.output.canvas = VisImage(np.where(covered[..., None], self.img, gray), self.output.scale).canvas

    def _binary_masks(self, masks: Any) -> list[np.ndarray]:
        """N masks of any accepted type as (H, W) bool arrays."""
        if isinstance(masks, PolygonMasks):
            masks = masks.polygons
        elif isinstance(masks, BitMasks):
            masks = masks.tensor
        return [self._binary_mask(mask) for mask in masks]

    def _binary_mask(self, mask: Any) -> np.ndarray:
        height, width = self.img.shape[:2]
        if isinstance(mask, dict):
            from pycocotools import mask as mask_util

            if isinstance(mask["counts"], list):
                mask = mask_util.frPyObjects(mask, height, width)  # pyright: ignore[reportCallIssue, reportArgumentType]
            return mask_util.decode(mask).astype(bool)  # pyright: ignore[reportArgumentType]  (an RLE)
        if isinstance(mask, list):
            return polygons_to_bitmask([np.asarray(polygon) for polygon in mask], height, width)
        return to_numpy(mask).astype(bool)

    def _stuff_label(self, category: int) -> str:
        names = self.metadata.get("stuff_classes", None)
        return names[category] if names and category < len(names) else str(category)

    def _color(self, kind: str, category: int) -> Color:
        """Color of a "thing" or "stuff" category: the dataset's, else one per index."""
        colors = self.metadata.get(f"{kind}_colors", None)
        if colors is None or category >= len(colors):
            return own_color(category)
        return tuple(value / 255 for value in colors[category])
