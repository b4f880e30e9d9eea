"""Presets: configurations with released weights, by name, for `masqclip demo --model NAME` and `from_pretrained`."""

from __future__ import annotations

import difflib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .categories import load_categories
from .checkpoint.reading import SHIPPED_PREFIX
from .config import load_config
from .vocabulary import Vocabulary
from .vocabulary.vocabulary import fold

if TYPE_CHECKING:
    from .meta_arch.required_weights import RequiredWeights

DEFAULT_PRESET = "shapes"
TOY_CLIP = "masqclip://shapes_clip"
"""The CLIP of the default preset, which knows the words of Shapes only."""
_PACKAGES = {"eomt": "transformers"}
"""Extra of this package -> the package that it installs."""
_LARGEST_SCENE = 352  # pixels; the longest side of a rendered scene
LARGEST_TOY_INPUT = 2 * _LARGEST_SCENE
"""Pixels on the longer side to which larger images are shrunk for the default preset, which gains nothing from more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preset:
    """A model that works as it is.

    Args:
        name: as users write it.
        config: name of its shipped configuration.
        weights: MODEL.WEIGHTS if not that of the configuration.
        masks: where its masks come from; license: of these weights.
        clip: its CLIP; clip_license: of these weights.
        download: megabytes of both files, rounded; 0: nothing is downloaded.
        needs: what the user has to supply; "": nothing.
        extra: extra of this package that it needs, a key of `_PACKAGES`; "": none.
    """

    name: str
    config: str
    masks: str
    license: str
    clip: str
    clip_license: str
    download: int
    weights: str = ""
    needs: str = ""
    extra: str = ""

    @property
    def to_install(self) -> str:
        """The command that installs a missing package; "": nothing is missing."""
        missing = self.extra and importlib.util.find_spec(_PACKAGES[self.extra]) is None
        return f"pip install 'masqclip_d2[{self.extra}]'" if missing else ""

    def options(self) -> list[str]:
        """KEY VALUE overrides of the configuration."""
        return ["MODEL.WEIGHTS", self.weights] if self.weights else []


_OPENAI = {"clip_license": "MIT (code; the model card asks for no deployment without tests)"}
_M2F = {"license": "MIT (repository)"}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "shapes",
            "shapes/masqclip",
            masks="tiny Mask2Former of the rendered world Shapes",
            license="Apache-2.0",
            clip="tiny CLIP of Shapes",
            clip_license="Apache-2.0",
            download=0,
            weights="masqclip://shapes_masqclip",
        ),
        Preset(
            "photos", "photos/photos", masks="Mask2Former R-50, COCO panoptic", clip="OpenAI ViT-L/14@336px",
            download=1070, **_M2F, **_OPENAI,
        ),
        Preset(
            "photos-small", "photos/photos_small", masks="Mask2Former R-50, COCO panoptic", clip="OpenAI ViT-B/16",
            download=530, **_M2F, **_OPENAI,
        ),
        Preset(
            "photos-mask-rcnn", "photos/photos_mask_rcnn", masks="torchvision Mask R-CNN R-50, things only",
            license="BSD-3-Clause", clip="OpenAI ViT-L/14@336px", download=1060, **_OPENAI,
        ),
        Preset(
            "photos-mask-rcnn-v2", "photos/photos_mask_rcnn_v2", masks="torchvision Mask R-CNN R-50 v2, things only",
            license="BSD-3-Clause", clip="OpenAI ViT-L/14@336px", download=1070, **_OPENAI,
        ),
        Preset(
            "photos-swin", "photos/photos_swin", masks="Mask2Former Swin-L, COCO panoptic",
            clip="OpenAI ViT-L/14@336px", download=1760, **_M2F, **_OPENAI,
        ),
        Preset(
            "photos-eva", "photos/photos_eva", masks="Mask2Former R-50, COCO panoptic", clip="EVA-02 CLIP L/14@336px",
            clip_license="MIT", download=1030, **_M2F,
        ),
        Preset(
            "photos-eomt", "photos/photos_eomt", masks="EoMT-L, COCO panoptic", license="MIT",
            clip="OpenAI ViT-L/14@336px", download=2160, extra="eomt", **_OPENAI,
        ),
        Preset(
            "maskclip", "maskclip_r50", masks="MaskCLIP's own file", license="CC BY-NC 4.0",
            clip="OpenAI ViT-L/14@336px", download=890, needs="the authors' file, with --weights PATH", **_OPENAI,
        ),
        Preset(
            "masqclip", "masqclip_r50", masks="MasQCLIP's own file", license="CC BY-NC 4.0",
            clip="OpenAI ViT-L/14@336px", download=890, needs="the authors' file, with --weights PATH", **_OPENAI,
        ),
    )
}  # fmt: skip


def find_preset(name: str) -> Preset:
    """The preset of that name; ValueError with those like it if there is none."""
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"There is no model {name!r}; {hint}Known: {', '.join(PRESETS)} (see `masqclip models`).")


def preset_weights(preset: Preset) -> list[RequiredWeights]:
    """The files that a preset loads, without those that the user has to supply; ImportError: see `to_install`."""
    from .meta_arch.required_weights import WEIGHTS_KEY, required_weights

    needed = required_weights(load_config(preset.config, preset.options()))
    return [each for each in needed if not (preset.needs and each.key == WEIGHTS_KEY)]


def missing_files(preset: Preset) -> int:
    """Number of its files that are not on this disk; 1 if it needs a package that is not installed."""
    return 1 if preset.to_install else sum(each.path is None for each in preset_weights(preset))


def is_ready(preset: Preset) -> bool:
    """Whether it can be used as it is, without downloads."""
    return not preset.needs and not missing_files(preset)


class ToyNotice:
    """Says once, in one line, that the default model knows rendered shapes only, when it is asked for more."""

    def __init__(self) -> None:
        self._given = False

    def give(self, vocabulary: Vocabulary, image_hw: Sequence[int]) -> None:
        """Log the notice if categories or size of the image are not those of Shapes.

        Args:
            vocabulary: the categories; those outside Shapes have no name or synonym of it.
            image_hw: (height, width) in pixels.
        """
        if self._given:
            return
        known = {fold(category.name) for category in load_categories("shapes")}
        unknown = [names[0] for names in vocabulary.synonyms if not known.intersection(map(fold, names))]
        reasons = []
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            reasons.append(f"it has never seen {', '.join(unknown[:3])}{more}")
        if max(image_hw) > _LARGEST_SCENE:
            reasons.append(f"its scenes have at most {_LARGEST_SCENE} pixels a side")
        if reasons:
            self._given = True
            logger.warning(
                "This toy model knows rendered shapes only: %s. For photographs use --model photos, or "
                'Predictor.from_pretrained("photos").',
                " and ".join(reasons),
            )


def toy_notice(cfg: Any) -> ToyNotice | None:
    """The notice of a model of included CLIP and weights; None for others, as what a user has trained may know more."""
    is_toy = cfg.MODEL.MASQCLIP.CLIP.NAME == TOY_CLIP and cfg.MODEL.WEIGHTS.startswith(SHIPPED_PREFIX)
    return ToyNotice() if is_toy else None
