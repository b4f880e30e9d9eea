"""What MaskCLIP, MasQCLIP and the CLIP baseline share: proposals -> mask embeddings -> words -> answers.

Input, a list with one dict per image (Detectron2's format):
    image           (3, H, W) uint8 or float RGB, 0..255
    height, width   size of the answer in pixels; default: of the image
    instances       only for ground-truth proposals: `gt_masks` and `gt_classes`
Output, one dict per image, according to the tasks that are on:
    sem_seg_labels  (height, width) int64 category of each pixel, the one with the highest score
    sem_seg_confidence    (height, width) float32 score of that category; 0 where no word fits
    sem_seg         only with the key MODEL.MASQCLIP.TEST.CLASS_MAPS: (K, height, width) float32 class scores, whose
                    arg-max the labels are; Detectron2's own SemSegEvaluator reads it
    panoptic_seg    ((height, width) int32 segment ids, list of segments: id, category_id, isthing, score, area)
    instances       Instances: pred_masks (N, height, width) bool, pred_boxes, scores, pred_classes
    mask_classification   only with ground-truth proposals: scores (N, K), gt_classes (N,), gt_masks (N, H, W)
In training, where a subclass has something to learn: a dict of losses; `instances` with gt_masks and gt_classes is
needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..clip.preprocessing import clip_image
from ..fusion import (
    MaskView,
    class_log_scores,
    instance_inference,
    masks_to_output,
    panoptic_inference,
    semantic_labels,
    semantic_scores,
)
from ..losses.targets import encoder_targets
from ..structures import CERTAIN_LOGIT, MaskProposals
from ..vocabulary import TextClassifier, Vocabulary
from .out_of_memory import in_smaller_pieces


@dataclass(frozen=True)
class Tasks:
    """Which answers to give, and how (keys MODEL.MASK_FORMER.TEST.*, MODEL.MASQCLIP.TEST.*, TEST.DETECTIONS_PER_IMAGE).

    The numbers of an answer do not depend on which others are given.
    """

    semantic: bool = True
    panoptic: bool = True
    instance: bool = True
    object_threshold: float = 0.0  # panoptic: score below which a proposal is dropped, in [0, 1]
    overlap_threshold: float = 0.0  # panoptic: share of its mask that a proposal must win, in [0, 1]
    topk: int = 100  # instances per image
    resize_masks_first: bool = True  # semantic; False: class maps are resized instead (published for it alone)
    class_maps: bool = False  # semantic: besides labels also `sem_seg`, which takes K floats per pixel

    @classmethod
    def from_config(cls, cfg) -> Tasks:
        test = cfg.MODEL.MASK_FORMER.TEST
        return cls(
            semantic=test.SEMANTIC_ON,
            panoptic=test.PANOPTIC_ON,
            instance=test.INSTANCE_ON,
            object_threshold=test.OBJECT_MASK_THRESHOLD,
            overlap_threshold=test.OVERLAP_THRESHOLD,
            topk=cfg.TEST.DETECTIONS_PER_IMAGE,
            resize_masks_first=test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
            class_maps=cfg.MODEL.MASQCLIP.TEST.CLASS_MAPS,
        )


class OpenVocabularySegmenter(nn.Module):
    """Composition of a proposer, a visual encoder and a text classifier; subclasses choose the visual encoder.

    Args:
        proposer: `propose(batched_inputs) -> list[MaskProposals]`.
        visual_encoder: (image (B, 3, R, R), mask_logits (B, Q, R, R)) -> object with `mask_embeddings` (B, Q, E); has
            `visual`, a `ClipVisionTransformer`.
        text_classifier: words -> text embeddings, and the cosine with them.
        tasks: which answers to give.
        extra_class: text of a class that competes in the soft-max and is then dropped; None: the K categories alone.
        use_object_score: multiply p_obj into the class probabilities.
        extra_class_in_panoptic: a proposal whose best class is the extra one makes no panoptic segment (MaskCLIP);
            False: it takes its best category (MasQCLIP).
        padding: "image" or "batch", see MODEL.MASQCLIP.PADDING.
        padding_rgb: colour (0..255) that CLIP sees in the padding where `padding` is "batch".
        antialias: of the image's resize for CLIP.
        clip_is_loaded: CLIP's numbers came from a file named in the config, so a checkpoint need not have them.
    """

    def __init__(
        self,
        *,
        proposer: nn.Module,
        visual_encoder: nn.Module,
        text_classifier: TextClassifier,
        tasks: Tasks,
        extra_class: str | None = None,
        use_object_score: bool = False,
        extra_class_in_panoptic: bool = False,
        padding: str = "image",
        padding_rgb: tuple[float, float, float] = (0.0, 0.0, 0.0),
        antialias: bool = False,
        clip_is_loaded: bool = False,
    ) -> None:
        super().__init__()
        self.proposer = proposer
        self.visual_encoder = visual_encoder
        self.text_classifier = text_classifier
        self.tasks = tasks
        self.extra_class = extra_class
        self.use_object_score = use_object_score
        self.extra_class_in_panoptic = extra_class_in_panoptic
        self.padding = padding
        self.antialias = antialias
        self.register_buffer("padding_rgb", torch.tensor(padding_rgb).view(3, 1, 1), persistent=False)
        # The own position of mask class tokens starts as CLIP's.
        of_clip = (r"visual_encoder\.visual\.", r"visual_encoder\.mask_embeddings", r"text_classifier\.")
        self.allow_missing = of_clip if clip_is_loaded else ()
        # Annotated masks come from no network; the weights of a method have the one that it learned with.
        self.allow_unexpected = () if any(True for _ in proposer.parameters()) else (r"proposer\.",)
        self.vocabulary: Vocabulary | None = None

    @property
    def trained_names(self) -> tuple[str, ...]:
        """Regular expressions for the parameters that this model's own stage learns."""
        return tuple(re.escape(name) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Say which words the next images are answered with: those of a test set, or a user's."""
        self.vocabulary = vocabulary

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """See the module docstring.

        Raises:
            RuntimeError: no vocabulary was set, the model is in training mode and has nothing to learn, or memory ran
                out (meta_arch/out_of_memory.py).
        """
        vocabulary = self.require_vocabulary()
        if self.training:
            return self.losses(batched_inputs, vocabulary)
        proposals = in_smaller_pieces(self.proposer.propose, batched_inputs, _size_of(batched_inputs))
        return [self.answer(record, found, vocabulary) for record, found in zip(batched_inputs, proposals, strict=True)]

    def losses(self, batched_inputs: list[dict], vocabulary: Vocabulary) -> dict[str, Tensor]:
        """What the stage of this model minimises; subclasses that learn have it."""
        raise RuntimeError(f"{type(self).__name__} has nothing to train: evaluate it (--eval-only).")

    def train(self, mode: bool = True) -> OpenVocabularySegmenter:
        """As ever, but the frozen proposer stays as it is at test."""
        super().train(mode)
        self.proposer.eval()
        return self

    def answer(
        self, record: dict, proposals: MaskProposals, vocabulary: Vocabulary, tasks: Tasks | None = None
    ) -> dict:
        """Classify the proposals of one image and fuse them into answers.

        Args:
            record: one dict of the input, see the module docstring.
            proposals: masks of the image from any source.
            vocabulary: the words.
            tasks: which answers to give; None: those of the configuration.
        """
        image = record["image"]
        output_hw = (record.get("height", image.shape[-2]), record.get("width", image.shape[-1]))
        given = proposals
        log_scores, proposals = self.classify(image, given, vocabulary)
        answers = fuse(log_scores.exp(), proposals, vocabulary, output_hw, tasks or self.tasks)
        if "instances" in record:
            truth = record["instances"]
            if len(truth) == len(given):
                answers["mask_classification"] = {
                    "scores": log_scores[:, : len(vocabulary)],
                    "gt_classes": truth.gt_classes,
                    "gt_masks": given.mask_logits > 0,
                }
        return answers

    def classify(self, image: Tensor, proposals: MaskProposals, vocabulary: Vocabulary) -> tuple[Tensor, MaskProposals]:
        """Log scores of the proposals of one image, as `class_log_scores` gives them with its extra column, and the
        proposals as the visual encoder refined them.
        """
        embeddings, proposals = self.encode_masks(image, proposals)
        return self.class_log_scores(embeddings, proposals.object_scores, vocabulary, with_extra=True), proposals

    @torch.no_grad()
    def encode_masks(self, image: Tensor, proposals: MaskProposals) -> tuple[Tensor, MaskProposals]:
        """Mask embeddings of one image, and its masks as the visual encoder refined them.

        Args:
            image: (3, H, W) RGB 0..255.
            proposals: Q masks of it.

        Returns:
            (Q, E) in CLIP's space, not unit length; the same proposals with refined masks, or as they were if the
            visual encoder does not refine.
        """
        clip_input, mask_logits, frame_hw = self.encoder_input(image, proposals)

        def encode(masks: Tensor) -> list[tuple[Tensor, Tensor | None]]:
            encoded = self.visual_encoder(clip_input[None], masks[None])
            refined = encoded.refined_mask_logits[-1][0] if encoded.refined_mask_logits else [None] * len(masks)
            return list(zip(encoded.mask_embeddings[0], refined, strict=True))

        if not len(mask_logits):
            return self.visual_encoder(clip_input[None], mask_logits[None]).mask_embeddings[0], proposals
        what = f"masks of an image of {image.shape[-2]} x {image.shape[-1]} pixels"
        embeddings, refined = zip(*in_smaller_pieces(encode, mask_logits, what), strict=True)
        if refined[0] is not None:
            masks = torch.stack(refined).float()
            proposals = MaskProposals(masks, proposals.object_scores, proposals.image_hw, frame_hw)
        return torch.stack(embeddings), proposals

    def encoder_input(self, image: Tensor, proposals: MaskProposals) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """What enters the visual encoder: (3, R, R) image, (Q, R, R) mask logits, and the pixels that both cover."""
        resolution = self.visual_encoder.visual.input_resolution
        image = image.to(self.padding_rgb.device)
        if self.padding == "batch":
            image = _pad(image, proposals.padded_hw, self.padding_rgb)
        frame = "padded" if self.padding == "batch" else "image"
        mask_logits = proposals.resized((resolution, resolution), frame)
        return clip_image(image, resolution, antialias=self.antialias), mask_logits, tuple(image.shape[-2:])

    @torch.no_grad()
    def training_batch(
        self, batched_inputs: list[dict], target_hw: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, list[int], list[dict[str, Tensor]]]:
        """What enters the visual encoder for a batch, (B, 3, R, R) and (B, Q, R, R), and its ground truth.

        Where images have different numbers of proposals, empty masks fill up; the third result is each image's number.
        `target_hw`: see `encoder_targets`.
        """
        proposals = self.proposer.propose(batched_inputs)
        images, masks, frames = zip(
            *(self.encoder_input(r["image"], p) for r, p in zip(batched_inputs, proposals, strict=True)), strict=True
        )
        padded = pad_sequence(masks, batch_first=True, padding_value=-CERTAIN_LOGIT)  # (B, Q, R, R)
        targets = encoder_targets(batched_inputs, frames, target_hw, padded.device)
        return torch.stack(images), padded, [len(some) for some in masks], targets

    @torch.no_grad()
    def class_log_scores(
        self, embeddings: Tensor, object_scores: Tensor, vocabulary: Vocabulary, with_extra: bool = False
    ) -> Tensor:
        """(Q, K) log scores of mask embeddings (Q, E) over the words of `vocabulary`.

        `with_extra` adds a column, (Q, K + 1), if there is something that panoptic inference should discard proposals
        for: the best of the vocabulary's background_prompts and, in models that say so, the extra class.
        """
        log_scores = class_log_scores(
            self.text_classifier.class_logits(embeddings, vocabulary, self.extra_class),
            object_scores if self.use_object_score else None,
            drop_extra=self.extra_class is not None and not (with_extra and self.extra_class_in_panoptic),
        )
        categories, others = log_scores[:, : len(vocabulary)], log_scores[:, len(vocabulary) :]
        if not with_extra or others.shape[1] == 0:
            return categories
        return torch.cat([categories, others.amax(dim=1, keepdim=True)], dim=1)

    def training_class_logits(self, embeddings: Tensor, vocabulary: Vocabulary, extra_class: str) -> Tensor:
        """(..., K + 1) class logits of mask embeddings (..., E): the categories, and "none of them" as the last.

        The last column is the extra class together with the background prompts, so that the softmax gives it their
        sum.
        """
        logits = self.text_classifier.class_logits(embeddings, vocabulary, extra_class)
        if not vocabulary.background_prompts:
            return logits
        none = logits[..., len(vocabulary) :].logsumexp(dim=-1, keepdim=True)
        return torch.cat([logits[..., : len(vocabulary)], none], dim=-1)

    def require_vocabulary(self) -> Vocabulary:
        """The words of `set_vocabulary`; RuntimeError that names it if there are none yet."""
        if self.vocabulary is None:
            raise RuntimeError(
                f"{type(self).__name__} has no vocabulary yet: call model.set_vocabulary(Vocabulary.from_names(...)), "
                "or Vocabulary.from_metadata(MetadataCatalog.get(name)) for a dataset."
            )
        return self.vocabulary


def fuse(
    class_probs: Tensor, proposals: MaskProposals, vocabulary: Vocabulary, output_hw: tuple[int, int], tasks: Tasks
) -> dict:
    """Answers of one image from class probabilities and masks, as the module docstring lists them.

    `class_probs` is (Q, K), or (Q, K + 1) with an extra class that only panoptic inference looks at.
    """
    all_probs, class_probs = class_probs, class_probs[:, : len(vocabulary)]
    answers: dict = {}
    if tasks.semantic:
        view = MaskView(class_probs, proposals.mask_logits, proposals.padded_hw, proposals.image_hw)
        answers.update(semantic_answers([view], output_hw, tasks))
    if not (tasks.panoptic or tasks.instance):
        return answers
    mask_logits = masks_to_output(proposals.mask_logits, proposals.padded_hw, proposals.image_hw, output_hw)
    if tasks.panoptic:
        answers["panoptic_seg"] = panoptic_inference(
            all_probs, mask_logits, vocabulary.is_thing, tasks.object_threshold, tasks.overlap_threshold
        )
    if tasks.instance:
        found = instance_inference(class_probs, mask_logits, vocabulary.is_thing, tasks.topk)
        answers["instances"] = Instances(
            output_hw,
            pred_masks=found.masks,
            pred_boxes=Boxes(found.boxes_xyxy),
            scores=found.scores,
            pred_classes=found.classes,
        )
    return answers


def semantic_answers(views: list[MaskView], output_hw: tuple[int, int], tasks: Tasks) -> dict[str, Tensor]:
    """The semantic answers of one image from one or several looks at it, as the module docstring lists them."""
    labels, confidence = semantic_labels(views, output_hw, tasks.resize_masks_first)
    answers = {"sem_seg_labels": labels, "sem_seg_confidence": confidence}
    if tasks.class_maps:
        answers["sem_seg"] = semantic_scores(views, output_hw, tasks.resize_masks_first)
    return answers


def _pad(image: Tensor, padded_hw: tuple[int, int], rgb: Tensor) -> Tensor:
    padded = rgb.expand(3, *padded_hw).clone()
    padded[:, : image.shape[-2], : image.shape[-1]] = image
    return padded


def _size_of(batched_inputs: list[dict]) -> str:
    height, width = (max(record["image"].shape[axis] for record in batched_inputs) for axis in (-2, -1))
    return f"images of up to {height} x {width} pixels"
