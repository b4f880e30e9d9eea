"""The Python API: an image and category names -> masks.

from masqclip_d2 import Predictor

predictor = Predictor()  # a toy model of rendered shapes; for photographs Predictor.from_pretrained("photos")
result = predictor("image.png", "striped circle,dotted star", stuff="grass")
for segment in result.segments:
    print(segment.label, segment.score, segment.area)

Networks run once per image, for any number of vocabularies, and masks may come from elsewhere:

encoded = predictor.encode("image.png", masks=sam_masks)
for names in ("cat,dog", "animal"):
    result = predictor.predict(encoded, names, task="instance")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .acceleration import Acceleration, accelerate
from .checkpoint import build_with_weights
from .config import adapt_to_machine, load_config
from .data.images import channels_first, image_pixels
from .mask_inputs import as_mask_proposals
from .prediction_arguments import checked_background, checked_count, checked_share, require_encoded
from .presets import DEFAULT_PRESET, LARGEST_TOY_INPUT, PRESETS, TOY_CLIP, find_preset, toy_notice
from .publishing import Publishable, find_model_folder, is_model_folder
from .renamed_arguments import renamed_arguments
from .results import Segmentation
from .results.from_predictions import rejected_of, segments_of
from .structures import EncodedImage
from .user_code import import_user_code
from .vocabulary import Vocabulary, as_vocabulary, with_background_prompts

if TYPE_CHECKING:
    from .meta_arch.tasks import Tasks

ImageInput = str | os.PathLike | bytes | Image.Image | NDArray[Any] | Tensor
"""A file or its bytes, a PIL image, an array (H, W, 3) or a tensor (3, H, W), see `data.images.image_pixels`."""
VocabularyInput = str | Path | Sequence[str] | Vocabulary
"""Category names, a `Vocabulary`, its file (.yaml, .yml, .json) or its shipped name ("coco_panoptic/openseg")."""
BackgroundInput = str | Sequence[str] | None
"""Background prompts: their source ("coco_lvis"), the texts, or None for the default."""

# Of `meta_arch.OpenVocabularySegmenter`.
_MODEL_INTERFACE = (
    "class_log_probs", "class_scores", "device", "embed_vocabulary", "encode", "encode_batch", "padding", "predict",
    "tasks",
)  # fmt: skip
_RENAMED_METHODS = {
    "encode_masks": "encode(image, masks=...), whose result has `unit_embeddings`",
    "classify": "class_probs(encoded, vocabulary), with the result of encode(image, masks=...)",
}


class Predictor(Publishable):
    """A model with its weights.

    Args:
        config: a YAML file or the name of a shipped configuration; None: the shipped MasQCLIP of Shapes, a toy. Models
            for photographs: `from_pretrained`.
        weights: checkpoint; None: MODEL.WEIGHTS of the configuration, or the shipped weights without a configuration.
        device: e.g. "cpu"; None: that of the configuration, or the CPU if the machine lacks it.
        opts: KEY VALUE overrides of the configuration.
        imports: Python files or modules to import first, which register proposers, backbones or models.
        dtype, compile, cuda_graphs: how the networks run, see `acceleration.Acceleration`; None: as the configuration
            says.

    Raises:
        FileNotFoundError, KeyError, ValueError: see `load_config`, `fetch_required_weights`, `StrictCheckpointer`.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        opts: Sequence[str] = (),
        imports: str | Path | Iterable[str | Path] = (),
        dtype: str | None = None,
        compile: bool | None = None,
        cuda_graphs: bool | None = None,
    ) -> None:
        from detectron2.modeling import build_model

        from .data.augmentation import ShrinkLongestEdge, evaluation_augmentations
        from .meta_arch.required_weights import fetch_required_weights

        import_user_code(imports)
        if config is None:
            default = find_preset(DEFAULT_PRESET)
            config, opts = default.config, [*default.options(), *opts]
        cfg = load_config(config, list(opts))
        if weights is not None:
            cfg.MODEL.WEIGHTS = str(weights)
        if device is not None:
            cfg.MODEL.DEVICE = device
        for key, value in (("DTYPE", dtype), ("COMPILE", compile), ("CUDA_GRAPHS", cuda_graphs)):
            if value is not None:
                cfg.MODEL.MASQCLIP.TEST[key] = value
        adapt_to_machine(cfg)
        cfg.freeze()
        fetch_required_weights(cfg)
        self.cfg = cfg
        self.model: Any = build_with_weights(lambda: build_model(cfg).eval(), cfg.MODEL.WEIGHTS)
        accelerate(self.model, Acceleration.from_config(cfg))
        self._augmentations = evaluation_augmentations(cfg)
        self._notice = toy_notice(cfg)
        if cfg.MODEL.MASQCLIP.CLIP.NAME == TOY_CLIP:
            self._augmentations.append(ShrinkLongestEdge(LARGEST_TOY_INPUT))

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        weights: str | Path | None = None,
        device: str | None = None,
        opts: Sequence[str] = (),
        imports: str | Path | Iterable[str | Path] = (),
        dtype: str | None = None,
        compile: bool | None = None,
        cuda_graphs: bool | None = None,
    ) -> Predictor:
        """A preset or a published model, with its weights, downloaded at first use.

        Args:
            name: such as "photos" (`masqclip models` lists all); a folder that `save_pretrained` wrote; or one on the
                Hugging Face Hub, "hf://owner/name" or "hf://owner/name@revision".
            weights: checkpoint in place of the preset's own; the presets of other people's files need it.
            device, opts, imports, dtype, compile, cuda_graphs: see `Predictor`.

        Raises:
            ValueError: there is no such preset, or it needs `weights`.
            FileNotFoundError: weights are not on this disk and cannot be downloaded.
        """
        settings = (imports, dtype, compile, cuda_graphs)
        if is_model_folder(name) and name not in PRESETS:
            import_user_code(imports)
            found = find_model_folder(name)
            return cls(found.config, weights or found.weights, device, [*found.opts, *opts], *settings)
        preset = find_preset(name)
        if preset.needs and weights is None:
            raise ValueError(f"The model {name!r} needs {preset.needs} ({preset.license}); see docs/models.md.")
        options = [*preset.options(), *opts]
        return cls(preset.config, weights, device, options, *settings)

    @overload
    def __call__(self, image: ImageInput, *arguments: Any, **settings: Any) -> Segmentation: ...

    @overload
    def __call__(self, image: list[Any], *arguments: Any, **settings: Any) -> list[Segmentation]: ...

    @renamed_arguments(vocab="vocabulary")
    def __call__(
        self,
        image: ImageInput | list[Any],
        vocabulary: VocabularyInput,
        stuff: str | Sequence[str] = (),
        task: str = "panoptic",
        confidence_threshold: float = 0.0,
        masks: Any = None,
        background_prompts: BackgroundInput = None,
        unknown_threshold: float | None = None,
    ) -> Segmentation | list[Segmentation]:
        """Segment one image: `encode`, then `predict`; of a list of images, a list of results, see `batch`."""
        settings = (task, confidence_threshold, background_prompts, unknown_threshold)
        if isinstance(image, list) and masks is None:
            return self.batch(image, vocabulary, stuff, task, confidence_threshold, 8, *settings[2:])
        categories = self.prepare(vocabulary, stuff, *settings)
        encoded: Any = self.encode(image, masks)
        return self.predict(encoded, categories, (), *settings)

    @renamed_arguments(vocab="vocabulary")
    def batch(
        self,
        images: Iterable[ImageInput],
        vocabulary: VocabularyInput,
        stuff: str | Sequence[str] = (),
        task: str = "panoptic",
        confidence_threshold: float = 0.0,
        batch_size: int = 8,
        background_prompts: BackgroundInput = None,
        unknown_threshold: float | None = None,
    ) -> list[Segmentation]:
        """Segment several images; the same as one call each, but images share passes of the networks.

        Args:
            images: see `encode`.
            batch_size: number of images in memory at a time. Of these, images of similar size share a pass of the
                proposer, and images with equally many masks one of the visual encoder.

        Raises:
            TypeError: `images` is a single image, or `batch_size` no whole number.
            ValueError: `batch_size` is less than 1.
        """
        has_one = isinstance(images, (np.ndarray, Tensor)) and images.ndim <= 3
        if has_one or isinstance(images, (str, os.PathLike, bytes, Image.Image)):
            raise TypeError("images is a single image; put it into a list, or call the predictor itself.")
        batch_size = checked_count("batch_size", batch_size)
        settings = (task, confidence_threshold, background_prompts, unknown_threshold)
        categories = self.prepare(vocabulary, stuff, *settings)
        images, results = list(images), []
        for first in range(0, len(images), batch_size):
            encoded = self._encode_batch(images[first : first + batch_size])
            results += [self.predict(one, categories, (), *settings) for one in encoded]
        return results

    @overload
    def encode(self, image: ImageInput, masks: Any = None) -> EncodedImage: ...

    @overload
    def encode(self, image: list[Any], masks: Any = None) -> list[EncodedImage]: ...

    def encode(self, image: ImageInput | list[Any], masks: Any = None) -> EncodedImage | list[EncodedImage]:
        """Run the networks: masks of one image and their embeddings in CLIP's space.

        Args:
            image: a file or its bytes, a PIL image, an array (H, W, 3), (H, W, 4) or (H, W) of 8 or 16 bits, a tensor
                (3, H, W), see `data.images.image_pixels`; or a list of these.
            masks: masks of your own, see `as_mask_proposals`: arrays or tensors (N, H, W) of the size of the image
                (bool, 0 and 1, or probabilities), SAM's list of dicts, `supervision.Detections`, torchvision's dict;
                None: those of the proposer. Pixels outside of all your masks are in no segment of any task.

        Raises:
            FileNotFoundError, TypeError, ValueError: the image cannot be read, or the masks do not fit.
            RuntimeError: memory runs out.
        """
        self._require_categories()
        if isinstance(image, list):
            if masks is not None:
                raise ValueError("masks belong to one image; encode images with masks one by one.")
            return self._encode_batch(image)
        if masks is None:
            return self._encode_batch([image])[0]
        pixels = self._pixels(image)
        proposals = as_mask_proposals(masks, pixels.shape[:2]).to(self.model.device)
        record = {"image": channels_first(pixels), **_origin(image)}
        return replace(self.model.encode(record, proposals), image=pixels)

    @renamed_arguments(vocab="vocabulary")
    def predict(
        self,
        encoded: EncodedImage,
        vocabulary: VocabularyInput,
        stuff: str | Sequence[str] = (),
        task: str = "panoptic",
        confidence_threshold: float = 0.0,
        background_prompts: BackgroundInput = None,
        unknown_threshold: float | None = None,
    ) -> Segmentation:
        """Segment an encoded image; runs neither proposer nor visual encoder.

        Args:
            encoded: result of `encode`.
            vocabulary: category names, a `Vocabulary`, its file (.yaml, .yml, .json) or its shipped name
                ("coco_panoptic/openseg"); see `as_vocabulary`.
            stuff: which of the category names are stuff.
            task: "panoptic", "instance" or "semantic".
            confidence_threshold: segments with a lower score are left out, in [0, 1].
            background_prompts: texts that compete with the categories; what they win has no label and is listed in
                `Segmentation.rejected`. "coco_lvis": names of COCO and LVIS that are none of the categories; ():
                none; None: those of the vocabulary, else those of MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS.
            unknown_threshold: in [0, 1], see `fusion.background`; None: MODEL.MASQCLIP.TEST.UNKNOWN_THRESHOLD.

        Raises:
            FileNotFoundError: there is no such vocabulary file.
            TypeError: `encoded` is no `EncodedImage`, or another argument of a type that is not listed.
            ValueError: bad vocabulary, unknown task, or `encoded` is not as `Predictor.encode` returned it.
        """
        settings = (task, confidence_threshold, background_prompts, unknown_threshold)
        named, categories, tasks = self._checked(vocabulary, stuff, *settings)
        self._require_encoded(encoded)
        if encoded.image is None:
            raise ValueError("This encoded image has no pixels; encode images with Predictor.encode.")
        if self._notice is not None:
            self._notice.give(named, encoded.image.shape[:2])
        predictions = self.model.predict(encoded.to(self.model.device), categories, tasks)
        segments, rejected = segments_of(task, predictions, categories), rejected_of(task, predictions, categories)
        return Segmentation(
            image=encoded.image,
            vocabulary=categories,
            task=task,
            segments=[segment for segment in segments if segment.score >= confidence_threshold],
            rejected=[region for region in rejected if region.score >= confidence_threshold],
        )

    def prepare(
        self,
        vocabulary: VocabularyInput,
        stuff: str | Sequence[str] = (),
        task: str = "panoptic",
        confidence_threshold: float = 0.0,
        background_prompts: BackgroundInput = None,
        unknown_threshold: float | None = None,
    ) -> Vocabulary:
        """Check the arguments of `predict` and compute the text embeddings, which are kept, before any image is read.

        Returns:
            The categories, to be passed on in place of `vocabulary` and `stuff`.

        Raises:
            FileNotFoundError, TypeError, ValueError: see `predict`; or a category has too many words for CLIP.
        """
        settings = (task, confidence_threshold, background_prompts, unknown_threshold)
        named, categories, _ = self._checked(vocabulary, stuff, *settings)
        self.model.embed_vocabulary(categories)
        return named

    def class_probs(self, encoded: EncodedImage, vocabulary: VocabularyInput) -> Tensor:
        """(Q, K) probabilities of the categories for each mask of an encoded image, without its object score."""
        self._require_categories()
        self._require_encoded(encoded)
        categories = as_vocabulary(vocabulary)
        embeddings = encoded.mask_embeddings.to(self.model.device)
        log_probs = self.model.class_log_probs(embeddings, embeddings.new_ones(len(embeddings)), categories)
        return self.model.class_scores(log_probs, categories).probs

    def __getattr__(self, name: str) -> NoReturn:
        hint = f"; it is now {_RENAMED_METHODS[name]}" if name in _RENAMED_METHODS else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}.")

    def _checked(self, vocabulary: VocabularyInput, stuff: Any, *settings: Any) -> tuple[Vocabulary, Vocabulary, Tasks]:
        """The categories, the same with background prompts, and tasks; errors as of `prepare`."""
        task, confidence_threshold, background_prompts, unknown_threshold = settings
        self._require_categories()
        tasks = self._tasks(task, confidence_threshold, unknown_threshold)
        categories = as_vocabulary(vocabulary, stuff)
        return categories, self._with_background(categories, background_prompts), tasks

    def _tasks(self, task: str, confidence_threshold: float, unknown_threshold: float | None) -> Tasks:
        lowest = checked_share("confidence_threshold", confidence_threshold)
        tasks = replace(self.model.tasks.only(task), score_threshold=lowest)
        if unknown_threshold is None:
            return tasks
        return replace(tasks, unknown_threshold=checked_share("unknown_threshold", unknown_threshold))

    def _with_background(self, categories: Vocabulary, background_prompts: BackgroundInput) -> Vocabulary:
        """The categories with the background prompts of an argument, see `predict`."""
        if background_prompts is None:
            return with_background_prompts(categories, self.cfg.MODEL.MASQCLIP.TEXT.BACKGROUND_PROMPTS)
        chosen = checked_background(background_prompts)
        if isinstance(chosen, str):
            return with_background_prompts(replace(categories, background_prompts=()), chosen)
        return replace(categories, background_prompts=chosen)

    def _require_categories(self) -> None:
        missing = [name for name in _MODEL_INTERFACE if not hasattr(self.model, name)]
        if missing:
            raise ValueError(
                f"MODEL.META_ARCHITECTURE is {self.cfg.MODEL.META_ARCHITECTURE!r}, which has no {', '.join(missing)}. "
                "Use the configuration of an open-vocabulary method, such as maskclip_r50, or derive your model from "
                "masqclip_d2.meta_arch.OpenVocabularySegmenter."
            )

    def _require_encoded(self, encoded: Any) -> None:
        classifier = getattr(self.model, "text_classifier", None)  # a user's model may have another one
        require_encoded(encoded, getattr(classifier, "embedding_dim", None))

    def _encode_batch(self, images: Sequence[ImageInput]) -> list[EncodedImage]:
        pixels = [self._pixels(image) for image in images]
        records = [self._record(*row) for row in zip(pixels, images, strict=True)]
        encoded: dict[int, EncodedImage] = {}
        for members in self._groups(records):
            found = self.model.encode_batch([records[index] for index in members])
            encoded.update(zip(members, found, strict=True))
        return [replace(encoded[index], image=pixels[index]) for index in range(len(images))]

    def _pixels(self, image: ImageInput) -> NDArray[np.uint8]:
        return image_pixels(image, self.cfg.INPUT.MAX_MEGAPIXELS)

    def _groups(self, records: Sequence[dict]) -> list[list[int]]:
        """Indices of records whose results do not depend on each other in a batch."""
        if self.model.padding != "batch":
            return [list(range(len(records)))] if records else []
        by_shape: dict[tuple[int, ...], list[int]] = {}  # where padding depends on the largest image of a batch
        for index, record in enumerate(records):
            by_shape.setdefault(tuple(record["image"].shape), []).append(index)
        return list(by_shape.values())

    def _record(self, pixels: NDArray[np.uint8], image: ImageInput) -> dict[str, Any]:
        from detectron2.data.transforms import apply_augmentations

        resized, _ = apply_augmentations(self._augmentations, pixels)
        height, width = pixels.shape[:2]
        return {"image": channels_first(np.asarray(resized)), "height": height, "width": width, **_origin(image)}


def _origin(image: ImageInput) -> dict[str, str]:
    """The key `file_name` of a record, if the image is a file."""
    return {"file_name": os.fspath(image)} if isinstance(image, (str, os.PathLike)) else {}
