"""EoMT (Kerssies et al., "Your ViT is Secretly an Image Segmentation Model", CVPR 2025) as proposer, by transformers.

Shape shorthand: B images, Q queries, K classes, S side of the network's input, h, w pixels of a resized image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import configurable
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoint import local_weights_path, read_checkpoint
from ..files import expand_home
from ..optional_packages import require_packages
from ..structures import MaskProposals
from .registry import PROPOSER_REGISTRY, Proposer

KEY = "MODEL.MASQCLIP.PROPOSER.EOMT.NAME"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # as transformers writes them, now and before


@PROPOSER_REGISTRY.register()
class EomtProposer(Proposer):
    """EoMT of the package transformers with its weights; object score = 1 - P(no object) for any number of classes.

    Images are resized so that their longer side is S and padded with black, as the model's image processor does. The
    masks are at the size of the resized image, without padding.

    Args:
        network: an `EomtForUniversalSegmentation`, or another model with its inputs and outputs.
        pixel_mean, pixel_std: for RGB in 0..255.
    """

    has_own_weights = True
    network_names = ("network",)

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(self, *, network: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        super().__init__()
        self.network: Any = network
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        own = cfg.MODEL.MASQCLIP
        if own.PADDING != "image":
            raise ValueError(f"EoMT pads images itself; set MODEL.MASQCLIP.PADDING 'image', got {own.PADDING!r}.")
        network = load_eomt(own.PROPOSER.EOMT.NAME)
        return {"network": network, "pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}

    @classmethod
    def own_weights(cls, cfg) -> dict[str, list[str]]:
        """See `Proposer.own_weights`; ImportError without transformers, which is not imported."""
        require_packages("EoMT", "eomt", "transformers")
        return {KEY: list(_sources(cfg.MODEL.MASQCLIP.PROPOSER.EOMT.NAME))}

    @torch.no_grad()
    def propose(self, batched_inputs: Sequence[dict]) -> list[MaskProposals]:
        """See `Proposer.propose`; only "image" is used."""
        resized = [self._resized(record["image"].to(self.device)) for record in batched_inputs]
        side = self.network.config.image_size
        padded = [F.pad(image.float(), (0, side - image.shape[-1], 0, side - image.shape[-2])) for image in resized]
        outputs = self.network(pixel_values=(torch.stack(padded) - self.pixel_mean) / self.pixel_std)
        scores = 1 - outputs.class_queries_logits.float().softmax(-1)[..., -1]
        rows = zip(outputs.masks_queries_logits.float(), scores, resized, batched_inputs, strict=True)
        return [
            MaskProposals(
                _without_padding(mask_logits, side, (image.shape[-2], image.shape[-1])),
                of_image,
                (record["image"].shape[-2], record["image"].shape[-1]),
            )
            for mask_logits, of_image, image, record in rows
        ]

    def _resized(self, image: Tensor) -> Tensor:
        """(3, H, W) -> (3, h, w) with max(h, w) = S, by the rule and the filter of the model's image processor."""
        from torchvision.transforms.v2.functional import resize
        from transformers.image_transforms import get_size_with_aspect_ratio

        side = self.network.config.image_size
        hw = get_size_with_aspect_ratio((image.shape[-2], image.shape[-1]), side, side)
        return resize(image, [max(length, 1) for length in hw], antialias=True)


def _without_padding(mask_logits: Tensor, side: int, hw: tuple[int, int]) -> Tensor:
    """(Q, S / stride, S / stride) -> (Q, h, w): bilinear interpolation to (S, S), cut to the image in the top left."""
    stride = side // mask_logits.shape[-1]
    rows, columns = (length // stride + 2 for length in hw)  # cells that the image depends on
    fine = F.interpolate(mask_logits[None, :, :rows, :columns], scale_factor=stride, mode="bilinear")[0]
    return fine[:, : hw[0], : hw[1]]


def load_eomt(name: str) -> nn.Module:
    """The network with its weights, float32.

    Args:
        name: a folder with config.json and model.safetensors (or pytorch_model.bin), as `save_pretrained` writes them,
            or OWNER/REPO[@REVISION] of the Hugging Face Hub.

    Raises:
        FileNotFoundError: there are no such files, or they cannot be downloaded.
        ImportError: transformers is not installed.
        ValueError: it is another model, or its weights do not fit.
    """
    transformers = _transformers()
    config_file, weights_file = (local_weights_path(source) for source in _sources(name))
    config = transformers.AutoConfig.from_pretrained(str(config_file))
    if not config.model_type.startswith("eomt"):
        raise ValueError(f"{KEY} {name!r} is a model of type {config.model_type!r}; expected an EoMT.")
    with torch.device("meta"):
        kind: Any = type(transformers.AutoModelForUniversalSegmentation.from_config(config))
    network, report = kind.from_pretrained(
        None, config=config, state_dict=_tensors(weights_file), output_loading_info=True
    )
    problems = {what: names for what, names in report.items() if names}
    if problems:
        raise ValueError(f"The weights {weights_file} do not fit {config_file}: {_listed(problems)}.")
    return network.float()


def _sources(name: str) -> tuple[str, str]:
    """Sources of the configuration and of the weights."""
    folder = expand_home(name)
    if name and folder.is_dir():
        found = [folder / file for file in _WEIGHT_FILES if (folder / file).is_file()]
        return str(folder / "config.json"), str(found[0] if found else folder / _WEIGHT_FILES[0])
    repo, _, revision = name.partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")) or repo.startswith((".", "~")):
        raise FileNotFoundError(f"{KEY} {name!r} is neither a folder nor OWNER/REPO of the Hugging Face Hub.")
    ending = f"@{revision}" if revision else ""
    return f"hf://{repo}/config.json{ending}", f"hf://{repo}/{_WEIGHT_FILES[0]}{ending}"


def _tensors(weights_file: Path) -> dict[str, Tensor]:
    return read_checkpoint(weights_file)["model"]


def _listed(problems: Mapping[str, Any]) -> str:
    parts = [f"{what.replace('_', ' ')}: {', '.join(sorted(map(str, names))[:6])}" for what, names in problems.items()]
    return "; ".join(parts)


def _transformers() -> Any:
    require_packages("EoMT", "eomt", "transformers")
    import transformers

    return transformers
