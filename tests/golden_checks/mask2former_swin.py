"""Golden sets `mask2former_swin_*`: images -> features of Mask2Former's Swin backbone."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from masqclip_d2.proposer import TimmSwinTransformer
from tests.golden_checks import GoldenRow, max_abs_error

WHAT = ("Mask2Former Swin backbone",)
_SIZES = ("patch_size", "embed_dim", "depths", "num_heads", "window_size")
_TOLERANCE = 1e-5


def check(arrays: dict, meta: dict) -> Iterator[GoldenRow]:
    backbone = TimmSwinTransformer(**{name: meta[name] for name in _SIZES}).eval()
    backbone.load_state_dict({name[3:]: torch.from_numpy(a) for name, a in arrays.items() if name.startswith("sd/")})
    for name, image in arrays.items():
        if name.startswith("in/"):
            with torch.no_grad():
                features = backbone(torch.from_numpy(image))
            for feature, values in features.items():
                output = f"out/{name[3:]}/{feature}"
                yield GoldenRow(output, max_abs_error(values, arrays[output]), _TOLERANCE)
