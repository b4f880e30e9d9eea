"""The names of the bundled Detectron2: the import lines of public code work, and every name is also in the real one."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import masqclip_d2

BUNDLED = Path(masqclip_d2.__file__).parent / "_bundled"
IMPORT_LINES = [
    "from detectron2.checkpoint import Checkpointer, DetectionCheckpointer, PeriodicCheckpointer",
    "from detectron2.config import CfgNode, configurable, get_cfg",
    "from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog",
    "from detectron2.data import build_detection_test_loader, build_detection_train_loader",
    "from detectron2.data import detection_utils as utils, transforms as T",
    "from detectron2.data.datasets import load_coco_json, register_coco_instances, register_coco_panoptic",
    "from detectron2.engine import AMPTrainer, DefaultPredictor, DefaultTrainer, HookBase, SimpleTrainer, TrainerBase",
    "from detectron2.engine import default_argument_parser, default_setup, default_writers, hooks, launch",
    "from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators, inference_on_dataset",
    "from detectron2.evaluation import print_csv_format, verify_results",
    "from detectron2.layers import CNNBlockBase, Conv2d, FrozenBatchNorm2d, ShapeSpec, get_norm",
    "from detectron2.modeling import BACKBONE_REGISTRY, Backbone, ShapeSpec",
    "from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY",
    "from detectron2.modeling import ResNet, build_backbone, build_model, build_resnet_backbone, build_sem_seg_head",
    "from detectron2.modeling.backbone import Backbone, BasicStem, BottleneckBlock, ResNet",
    "from detectron2.modeling.backbone.resnet import BasicBlock",
    "from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY",
    "from detectron2.modeling.meta_arch.semantic_seg import SEM_SEG_HEADS_REGISTRY, build_sem_seg_head",
    "from detectron2.modeling.postprocessing import sem_seg_postprocess",
    "from detectron2.projects.deeplab import add_deeplab_config, build_lr_scheduler",
    "from detectron2.projects.point_rend import ColorAugSSDTransform",
    "from detectron2.projects.point_rend.point_features import point_sample",
    "from detectron2.solver import LRMultiplier, WarmupParamScheduler, build_lr_scheduler, build_optimizer",
    "from detectron2.structures import BitMasks, Boxes, BoxMode, ImageList, Instances, PolygonMasks, pairwise_iou",
    "from detectron2.utils import comm",
    "from detectron2.utils.events import EventStorage, EventWriter, get_event_storage",
    "from detectron2.utils.file_io import PathManager",
    "from detectron2.utils.logger import setup_logger",
    "from detectron2.utils.memory import retry_if_cuda_oom",
    "from detectron2.utils.registry import Registry",
    "from detectron2.utils.visualizer import ColorMode, Visualizer",
]


@pytest.mark.parametrize("line", IMPORT_LINES)
def test_import_line_of_public_code(line):
    names: dict = {}
    exec(line, names)
    assert all(names[alias.asname or alias.name] is not None for alias in ast.parse(line).body[0].names)


def test_shape_spec_is_one_class():
    assert (
        importlib.import_module("detectron2.modeling").ShapeSpec
        is importlib.import_module("detectron2.layers").ShapeSpec
    )


def bundled_modules() -> list[str]:
    """Public modules; those that start with an underscore exist in the bundled one only."""
    files = (path.relative_to(BUNDLED).with_suffix("") for path in (BUNDLED / "detectron2").rglob("*.py"))
    names = sorted(".".join(path.parts).removesuffix(".__init__") for path in files)
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


def syntax_tree(module: str) -> ast.Module:
    path = BUNDLED.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def public_names(tree: ast.Module) -> set[str]:
    """Functions, classes and constants of a module, or the names in its `__all__`."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == "__all__":
                    return set(ast.literal_eval(node.value))
                if isinstance(target, ast.Name):
                    names.add(target.id)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", bundled_modules())
def test_public_names_and_methods_exist(module):
    """On the real Detectron2: code that is written against the bundled one works there."""
    imported = importlib.import_module(module)
    tree = syntax_tree(module)
    missing = {name for name in public_names(tree) if not hasattr(imported, name)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and hasattr(imported, node.name):
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            owner = getattr(imported, node.name)
            missing |= {f"{node.name}.{name}" for name in methods if name[0] != "_" and not hasattr(owner, name)}
    assert missing == set()


@pytest.mark.parametrize("module", bundled_modules())
def test_function_parameters_exist(module):
    imported = importlib.import_module(module)
    unknown = {}
    for node in syntax_tree(module).body:
        function = getattr(imported, node.name, None) if isinstance(node, ast.FunctionDef) else None
        if function is None:
            continue
        parameters = inspect.signature(function).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            unknown[node.name] = {each.arg for each in arguments} - set(parameters)
    assert not any(unknown.values()), unknown
