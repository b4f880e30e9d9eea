"""Names that configurations and user code contain: a change of tests/public_names.json is a change for users.

A config key that is removed or renamed also goes into `RENAMED_KEYS` of masqclip_d2/config.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from detectron2.projects.deeplab import add_deeplab_config

import masqclip_d2
from masqclip_d2.clip.registry import CLIP_REGISTRY
from masqclip_d2.config import RENAMED_KEYS, get_masqclip_cfg
from masqclip_d2.proposer.registry import PROPOSER_REGISTRY

PUBLISHED = json.loads(Path(__file__).with_name("public_names.json").read_text(encoding="utf-8"))
REGISTRIES = {
    "meta_architectures": META_ARCH_REGISTRY,
    "backbones": BACKBONE_REGISTRY,
    "sem_seg_heads": SEM_SEG_HEADS_REGISTRY,
    "proposers": PROPOSER_REGISTRY,
    "clips": CLIP_REGISTRY,
}


def keys_of(node: dict, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("kind", REGISTRIES)
def test_registered_names(kind):
    names = [name for name, registered in REGISTRIES[kind] if registered.__module__.startswith("masqclip_d2.")]
    assert sorted(names) == PUBLISHED[kind]


def test_config_keys():
    detectron2_keys = get_cfg()
    add_deeplab_config(detectron2_keys)
    assert sorted(set(keys_of(get_masqclip_cfg())) - set(keys_of(detectron2_keys))) == PUBLISHED["config_keys"]


def test_renamed_keys_lead_to_existing_ones():
    assert set(RENAMED_KEYS.values()) <= set(PUBLISHED["config_keys"])
    assert not set(RENAMED_KEYS) & set(PUBLISHED["config_keys"])


def test_package_names():
    assert sorted(masqclip_d2.__all__) == PUBLISHED["package"]
    assert all(hasattr(masqclip_d2, name) for name in masqclip_d2.__all__)
