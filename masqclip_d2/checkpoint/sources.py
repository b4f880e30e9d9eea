"""Known sources of state dicts: how to recognize each, and how its names become those of this package.

After `renames`, every missing or unexpected name must match a pattern of the source; otherwise loading fails
(strict_loading.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One kind of state dict. All patterns are regular expressions, matched at the beginning of a name.

    Args:
        name: description for messages.
        recognised_by: each must match a name in the file.
        only_for: each must match a name of the model.
        foreign_to: none may match a name of the model.
        renames: (pattern, replacement), applied to every name of the file with `re.sub`, in order.
        allow_missing: names of the model that the file may lack.
        allow_unexpected: renamed names of the file that are ignored.
    """

    name: str
    recognised_by: tuple[str, ...]
    only_for: tuple[str, ...] = ()
    foreign_to: tuple[str, ...] = ()
    renames: tuple[tuple[str, str | Callable], ...] = ()
    allow_missing: tuple[str, ...] = ()
    allow_unexpected: tuple[str, ...] = ()


# Class weights of the criterion: set by the configuration, not by a checkpoint.
_CONFIG_BUFFERS = (r"(proposer\.)?criterion\.empty_weight",)

# Released Mask2Former files have an older name of the query features.
_MASK2FORMER_RENAMES = ((r"sem_seg_head\.predictor\.static_query\.", "sem_seg_head.predictor.query_feat."),)
# Tables of Swin's windows, which are computed, and counters of batch norms, which have no effect on a frozen norm.
_MASK2FORMER_UNUSED = (
    r"(proposer\.)?backbone\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index",
    r"(proposer\.)?backbone\..*\.num_batches_tracked",
)

# Layers of RMA in the published MaskCLIP, counted from 0; some names in its checkpoint number them 0 to 3.
PUBLISHED_RMA_LAYERS = (5, 11, 17, 23)


def rma_renames(layers: Sequence[int] = PUBLISHED_RMA_LAYERS) -> tuple[tuple[str, str | Callable], ...]:
    """Renames from published names of RMA's parameters, below `visual.`, to those of `MaskClassTokenEncoder`."""

    def in_layer(name: str) -> Callable:
        return lambda match: f"mask_attentions.{layers[int(match[1])]}.{name}."

    block = r"visual\.transformer\.resblocks\.(\d+)\.attn\."
    return (
        (block + r"q_prime_norm_added_params\.", r"mask_attentions.\1.mask_norm."),
        (block + r"k_prime_proj_weight_added_params\.", r"mask_attentions.\1.key_proj."),
        (r"visual\.transformer\.conv1_added_params\.(\d+)\.", in_layer("mask_patch_proj")),
        (r"visual\.transformer\.conv3_added_params\.(\d+)\.", in_layer("refinement.proj")),
    )


# Published names of MasQ-Tuning's parameters -> names of `MaskClassTokenEncoder`.
MASQ_RENAMES = ((r"visual\.transformer\.resblocks\.(\d+)\.attn\.new_q_proj\.", r"mask_attentions.\1.mask_query_proj."),)
# Published names of the networks -> names of `OpenVocabularySegmenter`.
_INTO_SEGMENTER = (
    (r"^(?=backbone\.|sem_seg_head\.)", "proposer."),
    (r"^(?=visual\.|mask_attentions\.|mask_embeddings$)", "visual_encoder."),
)

# Counters of batch norms have no effect on the frozen norms of the backbone.
_MASK_RCNN_UNUSED = (r"(proposer\.)?backbone\.body\..*\.num_batches_tracked",)
# The checkpoint of torchvision's Mask R-CNN has names of an older torchvision.
_MASK_RCNN_RENAMES = (
    (r"^rpn\.head\.conv\.(?=weight|bias)", "rpn.head.conv.0.0."),
    (r"^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?=weight|bias)", r"backbone.fpn.\1_blocks.\2.0."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda match: f"roi_heads.mask_head.{int(match[1]) - 1}.0."),
)

SOURCES = (
    Source(
        name="ImageNet ResNet, for a Mask R-CNN",
        recognised_by=(r"(stem\.)?conv1\.weight", r"(res2|layer1)\.0\.conv1\.weight"),
        only_for=(r"backbone\.body\.layer1\.",),
        renames=(  # Detectron2's names -> torchvision's, which the model uses
            (r"^stem\.", ""),
            (r"^res(\d)", lambda match: f"layer{int(match[1]) - 1}"),
            (r"\bconv(\d)\.norm", r"bn\1"),
            (r"shortcut\.norm", "downsample.1"),
            (r"shortcut", "downsample.0"),
            (r"^", "backbone.body."),
        ),
        allow_missing=(r"(?!backbone\.body\.)",),
        allow_unexpected=(r"backbone\.body\.fc\.", r".*\.num_batches_tracked"),
    ),
    Source(
        name="Mask R-CNN, as the proposer of another model",
        recognised_by=(r"backbone\.body\.", r"rpn\.", r"roi_heads\."),
        foreign_to=(r"backbone\.",),
        renames=(*_MASK_RCNN_RENAMES, (r"^", "proposer.")),
        allow_unexpected=_MASK_RCNN_UNUSED,
    ),
    Source(
        name="Mask R-CNN",
        recognised_by=(r"backbone\.body\.", r"rpn\.", r"roi_heads\."),
        renames=_MASK_RCNN_RENAMES,
        allow_unexpected=_MASK_RCNN_UNUSED,
    ),
    Source(
        name="ImageNet backbone in Detectron2's names",
        recognised_by=(r"stem\.conv1\.weight",),
        renames=((r"^", "backbone."),),
        allow_missing=(r"(?!backbone\.)",),
        allow_unexpected=(r"backbone\.(fc|stem\.fc)\.",),
    ),
    Source(
        name="ImageNet Swin Transformer",
        recognised_by=(r"patch_embed\.proj\.weight", r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table"),
        only_for=(r"backbone\.patch_embed\.",),
        renames=((r"^", "backbone."),),
        # Detection has a norm for each feature, classification one before its head.
        allow_missing=(r"(?!backbone\.)", r"backbone\.norm\d\."),
        allow_unexpected=(r"backbone\.(norm|head)\.", r"backbone\..*\.(relative_position_index|attn_mask)"),
    ),
    Source(
        name="torchvision ResNet",
        recognised_by=(r"layer1\.0\.conv1\.weight", r"conv1\.weight"),
        renames=(
            (r"^(?!layer)", "stem."),
            (r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}"),
            (r"\bbn(\d)", r"conv\1.norm"),
            (r"downsample\.0", "shortcut"),
            (r"downsample\.1", "shortcut.norm"),
            (r"^", "backbone."),
        ),
        allow_missing=(r"(?!backbone\.)",),
        allow_unexpected=(r"backbone\.stem\.fc\.", r".*\.num_batches_tracked"),
    ),
    Source(
        name="published MaskCLIP",
        recognised_by=(r"maskclip\.visual\.", r"backbone\.", r"sem_seg_head\."),
        renames=(
            (r"^maskclip\.", ""),
            *rma_renames(),
            *_INTO_SEGMENTER,
        ),
        allow_missing=(r"text_classifier\.",),  # not stored; loaded with CLIP
        allow_unexpected=(r"criterion\.",),
    ),
    Source(
        name="published MasQCLIP",
        recognised_by=(r"masqclip\.visual\.", r"backbone\.", r"sem_seg_head\."),
        renames=(
            (r"^masqclip\.", ""),
            *MASQ_RENAMES,
            *_INTO_SEGMENTER,
        ),
        allow_missing=(r"text_classifier\.",),
        allow_unexpected=(r"criterion\.",),
    ),
    Source(
        name="Mask2Former, as the proposer of another model",
        recognised_by=(r"backbone\.", r"sem_seg_head\."),
        foreign_to=(r"backbone\.",),  # a proposer uses these names itself
        renames=(*_MASK2FORMER_RENAMES, (r"^(?=backbone\.|sem_seg_head\.)", "proposer.")),
        # A model without an object score has no class head.
        allow_unexpected=(r"criterion\.", r"proposer\.sem_seg_head\.predictor\.class_embed\.", *_MASK2FORMER_UNUSED),
    ),
)
OWN = Source(
    name="checkpoint of this model",
    recognised_by=(),
    renames=_MASK2FORMER_RENAMES,
    allow_missing=_CONFIG_BUFFERS,
    allow_unexpected=(*_CONFIG_BUFFERS, *_MASK2FORMER_UNUSED),
)
# A user's proposer, trained as a model of its own; its criterion is not needed any more.
PROPOSER_OF_MODEL = Source(
    name="proposer of this model",
    recognised_by=(),
    renames=((r"^", "proposer."),),
    allow_unexpected=(r"proposer\.criterion\.",),
)


def source_of(file_names: Iterable[str], model_names: Iterable[str]) -> Source:
    """Source of a state dict, for a model.

    `PROPOSER_OF_MODEL` if the file has all names of the model's proposer without their prefix, `OWN` if it already uses
    this model's parameter names.
    """
    file_names, model_names = list(file_names), list(model_names)
    for source in SOURCES:
        foreign = any(_begins(pattern, model_names) for pattern in source.foreign_to)
        needed = all(_begins(pattern, model_names) for pattern in source.only_for)
        if needed and not foreign and all(_begins(pattern, file_names) for pattern in source.recognised_by):
            return source
    of_proposer = {name.removeprefix("proposer.") for name in model_names if name.startswith("proposer.")}
    return PROPOSER_OF_MODEL if of_proposer and of_proposer <= set(file_names) else OWN


def _begins(pattern: str, names: Iterable[str]) -> bool:
    """Whether some name begins with the pattern."""
    return any(re.match(pattern, name) for name in names)


def rename(name: str, source: Source) -> str:
    """Name in this package of a tensor of `source`."""
    return apply_renames(name, source.renames)


def apply_renames(name: str, renames: Iterable[tuple[str, str | Callable]]) -> str:
    """Apply every (pattern, replacement) to `name`, in order."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
