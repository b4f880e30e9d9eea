"""Whole models and semantic heads by registered name."""

from .build import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, build_model, build_sem_seg_head

__all__ = ["META_ARCH_REGISTRY", "SEM_SEG_HEADS_REGISTRY", "build_model", "build_sem_seg_head"]
