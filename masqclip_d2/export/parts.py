"""The parts of a model that are exported: modules, names and sizes of their inputs and outputs.

Shape shorthand: as in `wrappers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..meta_arch.open_vocabulary import OpenVocabularySegmenter
from ..visual_encoder import ClipBaselineEncoder
from ..visual_encoder.masq_attention import TunedAndUntunedEncoder
from .wrappers import ExportedClassifier, ExportedModel, ExportedProposer

PART_NAMES = ("proposer", "classifier", "whole")
LARGEST_SIDE = 8192  # pixels of an image
_MOST_MASKS, _MOST_ROWS = 4096, 1 << 20

Size = int | str
"""A number, or the name of a size that is free."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a part.

    Args:
        name: as in the file.
        dtype: a name of NumPy's.
        shape: numbers, and names of free sizes.
        meaning: one line.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]
    meaning: str


@dataclass(frozen=True)
class Part:
    """A part of a model, ready for export.

    Args:
        name: one of `PART_NAMES`.
        module: takes the inputs and returns the outputs.
        inputs, outputs: in the order of the module.
        examples: inputs of arbitrary values and sizes.
        smallest_side: pixels that height and width of an image need at least.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    examples: tuple[Tensor, ...]
    smallest_side: int

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """The free sizes of the inputs as `torch.export` takes them."""
        sides = {"min": self.smallest_side, "max": LARGEST_SIDE}
        limits = {"height": sides, "width": sides, "masks": {"max": _MOST_MASKS}, "texts": {"max": _MOST_ROWS}}
        names = {size for tensor in self.inputs for size in tensor.shape if isinstance(size, str)}
        dims = {name: torch.export.Dim(name, **limits.get(name, {"max": LARGEST_SIDE})) for name in sorted(names)}
        return {
            tensor.name: {axis: dims[size] for axis, size in enumerate(tensor.shape) if isinstance(size, str)}
            for tensor in self.inputs
        }


def build_part(name: str, model: OpenVocabularySegmenter) -> Part:
    """A part of a model in eval mode on the CPU.

    Args:
        name: one of `PART_NAMES`.
        model: its modules are used as they are.

    Raises:
        ValueError: there is no such part, or this model has something in it that cannot be exported.
    """
    if name not in PART_NAMES:
        raise ValueError(f"There is no part {name!r} of a model; expected one of {', '.join(PART_NAMES)}.")
    _check_model(model)
    if name != "classifier":
        _check_proposer(model.proposer)
    if name != "proposer":
        _check_encoder(model)
    return _BUILDERS[name](model)


def _check_model(model: Any) -> None:
    if not isinstance(model, OpenVocabularySegmenter):
        raise ValueError(
            f"{type(model).__name__} cannot be exported: it classifies no masks; use the configuration of an "
            "open-vocabulary method, such as maskclip_r50."
        )
    if model.device.type != "cpu":
        raise ValueError(f"The model is on the device {model.device}; load it on the CPU (device='cpu') to export it.")


def _check_proposer(proposer: Any) -> None:
    if not hasattr(proposer, "predict_masks"):
        raise ValueError(
            f"The proposer {type(proposer).__name__} cannot be exported, only Mask2FormerProposer can: export the "
            "classifier alone (--parts classifier), which takes masks from anywhere."
        )


def _check_encoder(model: OpenVocabularySegmenter) -> None:
    encoder = model.visual_encoder
    if isinstance(encoder, ClipBaselineEncoder):
        raise ValueError("The CLIP baseline cannot be exported: it runs CLIP once per mask; export MaskCLIP instead.")
    if isinstance(encoder, TunedAndUntunedEncoder):
        raise ValueError(
            "A model with MODEL.MASQCLIP.TEST.UNTUNED_WEIGHTS cannot be exported: its scores depend on which "
            "categories were trained; set the key to []."
        )
    if model.tiles > 1 or model.square_tiles:
        raise ValueError(
            "A model that encodes images in tiles cannot be exported; set MODEL.MASQCLIP.CLIP.TILES 1 and SQUARE_TILES "
            "False."
        )
    if model.padding == "batch":
        raise ValueError(
            "A model with MODEL.MASQCLIP.PADDING 'batch' cannot be exported: padding depends on the other images of a "
            "batch; set it to 'image'."
        )


_IMAGE = TensorInfo("image", "uint8", ("height", "width", 3), "RGB, 0..255")
_SCORES = "probability that the mask is an object, in [0, 1]"
_LOGITS = "of each mask and text: cosine similarity times the logit scale"
_MASKS = "a pixel is inside where the value is positive"
_EXTENT = TensorInfo(
    "mask_extent",
    "int64",
    (2,),
    "height and width in pixels of the image that the masks cover from its top left corner",
)


def _proposer(model: OpenVocabularySegmenter) -> Part:
    image = _example_image(model)
    outputs = (TensorInfo("object_scores", "float32", ("masks",), _SCORES), *_masks("proposed"))
    return Part("proposer", ExportedProposer(model.proposer), (_IMAGE,), outputs, (image,), _smallest_side(model))


def _classifier(model: OpenVocabularySegmenter) -> Part:
    masks = TensorInfo(
        "mask_logits", "float32", ("masks", "mask_height", "mask_width"),
        f"{_MASKS}; of binary masks: 10 inside, -10 outside",
    )  # fmt: skip
    texts = _texts(model)
    outputs = [TensorInfo("class_logits", "float32", ("masks", "texts"), _LOGITS)]
    if _refines(model):
        side = model.visual_encoder.visual.input_resolution
        outputs.append(TensorInfo("refined_mask_logits", "float32", ("masks", side, side), "they cover the image"))
    image = _example_image(model)
    examples = (image, torch.zeros(5, 40, 48), torch.tensor(image.shape[:2]), _example_texts(model))
    return Part(
        "classifier", ExportedClassifier(model), (_IMAGE, masks, _EXTENT, texts), tuple(outputs), examples, 2
    )  # fmt: skip


def _whole(model: OpenVocabularySegmenter) -> Part:
    logits = TensorInfo("class_logits", "float32", ("masks", "texts"), _LOGITS)
    scores = TensorInfo("object_scores", "float32", ("masks",), _SCORES)
    if _refines(model):
        side = model.visual_encoder.visual.input_resolution
        masks = (TensorInfo("mask_logits", "float32", ("masks", side, side), _MASKS), _EXTENT)
    else:
        masks = _masks("proposed")
    examples = (_example_image(model), _example_texts(model))
    inputs = (_IMAGE, _texts(model))
    return Part("whole", ExportedModel(model), inputs, (logits, scores, *masks), examples, _smallest_side(model))


_BUILDERS: dict[str, Callable[[OpenVocabularySegmenter], Part]] = {
    "proposer": _proposer,
    "classifier": _classifier,
    "whole": _whole,
}


def _masks(prefix: str) -> tuple[TensorInfo, TensorInfo]:
    shape = ("masks", f"{prefix}_height", f"{prefix}_width")
    return TensorInfo("mask_logits", "float32", shape, _MASKS), _EXTENT


def _texts(model: OpenVocabularySegmenter) -> TensorInfo:
    shape = ("texts", model.text_classifier.embedding_dim)
    return TensorInfo("text_embeddings", "float32", shape, "unit rows, from vocabulary.npz")


def _refines(model: OpenVocabularySegmenter) -> bool:
    """Whether the visual encoder returns refined masks."""
    attentions: Any = getattr(model.visual_encoder, "mask_attentions", ())
    return any(getattr(attention, "refinement", None) is not None for attention in attentions)


def _smallest_side(model: OpenVocabularySegmenter) -> int:
    """The coarsest level of the proposer must have two rows and two columns: graphs are made for more than one."""
    backbone: Any = model.proposer.backbone
    return 1 + max(spec.stride for spec in backbone.output_shape().values())


def _example_image(model: OpenVocabularySegmenter) -> Tensor:
    return torch.zeros(150, 190, 3, dtype=torch.uint8)


def _example_texts(model: OpenVocabularySegmenter) -> Tensor:
    return F.normalize(torch.ones(7, model.text_classifier.embedding_dim), dim=-1)
