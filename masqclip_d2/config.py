"""Every configuration key of this package, and the configuration of a file or shipped name with overrides.

Mask2Former's keys (MODEL.MASK_FORMER.*, the extras of MODEL.SEM_SEG_HEAD, INPUT and SOLVER) keep their names and
meanings, so that its ResNet YAML files load; unused ones are marked. Every key under MODEL.MASQCLIP is used
(tests/test_config.py).
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg
from detectron2.projects.deeplab import add_deeplab_config

from .config_files import find_config, read_config
from .config_values import check_values

# Keys of earlier versions -> the key that replaced them. An old key is an error that names the new one.
RENAMED_KEYS = {
    "TEST.PICTURES": "TEST.NUM_VISUALIZATIONS",
    "MODEL.MASQCLIP.TEXT.SYNONYMS": "MODEL.MASQCLIP.TEXT.ENSEMBLE",
    "MODEL.MASQCLIP.PROPOSER.TINY_BACKBONE_WIDTHS": "MODEL.SHAPES.BACKBONE_WIDTHS",
    "MODEL.MASQCLIP.CLIP_PRETRAINING.PATCH_DROPOUT": "MODEL.SHAPES.PATCH_DROPOUT",
}


AddKeys = TypeVar("AddKeys", bound=Callable[[CN], Any])
_further_keys: list[Callable[[CN], Any]] = []
_TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '([\w.]+)'> vs. <class '([\w.]+)'>\).* for config key: (\S+)", re.DOTALL
)
_EXAMPLES = {"int": "3", "float": "0.5", "bool": "True", "list": "\"['a', 'b']\"", "tuple": "\"('a', 'b')\""}


def register_config_keys(add_keys: AddKeys) -> AddKeys:
    """Decorator for a function that adds keys of your own to each new configuration: it is called with `cfg`."""
    _further_keys.append(add_keys)
    return add_keys


def get_masqclip_cfg() -> CN:
    """Default configuration: the keys of Detectron2, DeepLab, this package and `register_config_keys`."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_masqclip_config(cfg)
    return cfg


def load_config(name_or_path: str | Path, opts: list[str] | tuple[str, ...] = ()) -> CN:
    """Load a configuration file or a shipped configuration, then apply KEY VALUE overrides.

    Args:
        name_or_path: a YAML file, or a shipped name such as "shapes/maskclip_worma" (with or without ".yaml"). Its
            _BASE_ may be a file, relative to it, or a shipped name.
        opts: KEY VALUE pairs, as on the command line.

    Returns:
        A configuration that is not frozen.

    Raises:
        FileNotFoundError: neither a file nor a shipped configuration.
        KeyError: unknown key in the file or in `opts`; the message lists similar keys, or the new name of an old key.
        ValueError: `opts` has an odd length, a value has the wrong type or is out of range, or the file is no YAML
            mapping.
    """
    cfg = get_masqclip_cfg()
    path = find_config(name_or_path)
    defaults = dict(flat_items(cfg))
    known = set(defaults)
    settings = read_config(path)
    if settings.setdefault("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ValueError(f"Config {path} has VERSION {settings['VERSION']}; expected {cfg.VERSION}.")
    try:
        cfg.merge_from_other_cfg(CN(settings))
    except KeyError as error:
        raise KeyError(_unknown_key_message(error, known, str(path))) from None
    except ValueError as error:
        raise _type_error(error, str(path)) from None
    merge_overrides(cfg, opts)
    check_values(dict(flat_items(cfg)), defaults)
    return cfg


def merge_overrides(cfg: CN, opts: list[str] | tuple[str, ...]) -> None:
    """Apply KEY VALUE pairs in place; errors as in `load_config`."""
    opts = list(opts)
    if len(opts) % 2:
        raise ValueError(f"Overrides are KEY VALUE pairs, got an odd number of arguments: {' '.join(map(str, opts))}.")
    known = {key for key, _ in flat_items(cfg)}
    for key in opts[::2]:
        if key not in known:
            raise KeyError(_unknown_key_message(key, known, "the command line"))
    try:
        cfg.merge_from_list(opts)
    except ValueError as error:
        raise _type_error(error, "the command line") from None


def adapt_to_machine(cfg: CN, num_gpus: int | None = None) -> None:
    """Set MODEL.DEVICE to cpu, in place, if its device is missing or `num_gpus` is 0; logs the change."""
    import torch

    try:
        device = torch.device(cfg.MODEL.DEVICE).type
    except RuntimeError:
        raise ValueError(f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}; expected a device such as 'cpu' or 'cuda'.") from None
    # A CUDA build of torch reports a CUDA accelerator even without a driver: check the availability first.
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    available = device == "cpu" or (accelerator is not None and accelerator.type == device)
    if device != "cpu" and (num_gpus == 0 or not available):
        cfg.MODEL.DEVICE = "cpu"
        reason = "--num-gpus is 0" if num_gpus == 0 else f"there is no {device} device"
        logging.getLogger(__name__).warning("Running on the CPU: %s.", reason)


def add_masqclip_config(cfg: CN) -> None:
    """Add all keys of this package to `cfg`, after `add_deeplab_config`. Symbols: see docs/architecture.md."""
    cfg.STAGES = []  # configurations of the earlier stages, in order; for `masqclip run-stages`
    cfg.HOOKS = []  # names in HOOK_REGISTRY of further hooks of a training, such as your own logger
    cfg.TEST.SAVE_PREDICTIONS = False  # in OUTPUT_DIR/inference, for `masqclip evaluate-predictions`
    # Save the weights with the highest value of this metric as model_best.pth; compared after every evaluation
    # (TEST.EVAL_PERIOD). "panoptic_seg/PQ_novel"; with several test sets "NAME/panoptic_seg/PQ"; "": off.
    cfg.TEST.BEST_CHECKPOINT_METRIC = ""
    # Images of each test set whose predictions are drawn for TensorBoard at every evaluation in training; 0: none.
    cfg.TEST.NUM_VISUALIZATIONS = 4
    _add_mask2former_keys(cfg)
    _add_masqclip_keys(cfg)
    _add_shapes_keys(cfg)
    for add_keys in _further_keys:
        add_keys(cfg)
    for old, new in RENAMED_KEYS.items():
        cfg.register_renamed_key(old, new)


def _add_mask2former_keys(cfg: CN) -> None:
    cfg.INPUT.DATASET_MAPPER_NAME = "panoptic"  # name in masqclip_d2.data.mappers
    cfg.INPUT.COLOR_AUG_SSD = False  # photometric jitter of SSD
    # Larger image files are refused: their memory, or a damaged or malicious file. 178 is Pillow's. The environment
    # variable MASQCLIP_MAX_MEGAPIXELS raises it, for readers without a configuration as well.
    cfg.INPUT.MAX_MEGAPIXELS = 178
    cfg.INPUT.SIZE_DIVISIBILITY = -1  # pad training images to this size; -1: off
    cfg.INPUT.IMAGE_SIZE = 1024  # pixels; side of the square crop of large-scale jitter
    cfg.INPUT.MIN_SCALE = 0.1  # large-scale jitter: the image is resized to fit this multiple of IMAGE_SIZE ...
    cfg.INPUT.MAX_SCALE = 2.0  # ... up to this

    cfg.SOLVER.OPTIMIZER = "ADAMW"  # or "SGD", or "MUON" for models with transformer blocks of CLIP
    # With AMP.ENABLED on a GPU: "fp16" with a scaled loss, as Detectron2, or "bf16". CPUs take bf16.
    cfg.SOLVER.AMP.DTYPE = "fp16"
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1  # learning rate of the proposer's backbone, relative to BASE_LR
    cfg.SOLVER.MUON_MULTIPLIER = 10.0  # learning rate of Muon's matrices, relative to BASE_LR
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # weight decay of embedding and position tables, class tokens, queries
    cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.0  # weight decay of biases; None: WEIGHT_DECAY (Mask2Former)

    former = cfg.MODEL.MASK_FORMER = CN()
    former.DEEP_SUPERVISION = True
    former.NO_OBJECT_WEIGHT = 0.1  # weight of "no object" in the class loss
    former.CLASS_WEIGHT = 2.0
    former.DICE_WEIGHT = 5.0
    former.MASK_WEIGHT = 5.0
    former.NHEADS = 8
    former.DROPOUT = 0.0  # only 0.0 is supported, as in every published configuration
    former.DIM_FEEDFORWARD = 2048
    former.ENC_LAYERS = 0  # unused; accepted for compatibility with Mask2Former configs
    former.DEC_LAYERS = 10  # number of predictions: one more than decoder layers (as published)
    former.PRE_NORM = False  # only False is supported
    former.HIDDEN_DIM = 256
    former.NUM_OBJECT_QUERIES = 100  # Q; a frozen proposer takes the number from its weights
    former.TRANSFORMER_IN_FEATURE = "multi_scale_pixel_decoder"  # unused, see ENC_LAYERS
    former.ENFORCE_INPUT_PROJ = False  # only False is supported
    former.SIZE_DIVISIBILITY = 32  # pixels; inputs of the proposer are padded to multiples of it
    former.TRANSFORMER_DECODER_NAME = "MultiScaleMaskedTransformerDecoder"  # unused, see ENC_LAYERS
    former.TRAIN_NUM_POINTS = 112 * 112  # points per mask in matching and losses
    former.OVERSAMPLE_RATIO = 3.0  # candidates per point
    former.IMPORTANCE_SAMPLE_RATIO = 0.75  # share of points chosen by uncertainty
    former.TEST = CN()
    former.TEST.SEMANTIC_ON = True
    former.TEST.INSTANCE_ON = False
    former.TEST.PANOPTIC_ON = False
    former.TEST.OBJECT_MASK_THRESHOLD = 0.0  # panoptic: a mask below this score is dropped, in [0, 1]
    former.TEST.OVERLAP_THRESHOLD = 0.0  # panoptic: a mask that keeps less than this share of its pixels is dropped
    # Semantic: True: resize masks to the output, then sum them. False: sum first, then resize class maps (published for
    # models with semantic output only; here the result of a task does not depend on the other tasks).
    former.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = True

    _add_swin_keys(cfg)
    head = cfg.MODEL.SEM_SEG_HEAD
    head.MASK_DIM = 256  # C of mask_features
    head.TRANSFORMER_ENC_LAYERS = 6
    head.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"  # unused; accepted for compatibility with Mask2Former configs
    head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS = 4
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8


def _add_swin_keys(cfg: CN) -> None:
    """Of TimmSwinTransformer; defaults are Swin-T."""
    swin = cfg.MODEL.SWIN = CN()
    swin.PRETRAIN_IMG_SIZE = 224  # unused; accepted for compatibility with Mask2Former configs
    swin.PATCH_SIZE = 4  # pixels
    swin.EMBED_DIM = 96  # channels of the first stage
    swin.DEPTHS = [2, 2, 6, 2]  # blocks of each stage
    swin.NUM_HEADS = [3, 6, 12, 24]  # of each stage
    swin.WINDOW_SIZE = 7
    swin.MLP_RATIO = 4.0
    swin.QKV_BIAS = True
    swin.QK_SCALE = None  # only None is supported, as in every published configuration
    swin.DROP_RATE = 0.0  # only 0.0 is supported
    swin.ATTN_DROP_RATE = 0.0  # only 0.0 is supported
    swin.DROP_PATH_RATE = 0.3  # stochastic depth of the last block in training
    swin.APE = False  # only False is supported
    swin.PATCH_NORM = True
    swin.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    swin.USE_CHECKPOINT = False  # only False is supported


def _add_masqclip_keys(cfg: CN) -> None:
    own = cfg.MODEL.MASQCLIP = CN()

    _add_proposer_keys(own)

    # Padding of the inputs of proposer and CLIP. "image": each image on its own, none for CLIP, so that results do not
    # depend on the batch; "batch": to the largest image of the batch, for CLIP too, as in the published code.
    own.PADDING = "image"

    _add_clip_keys(own)

    own.TEXT = CN()
    # Vocabulary of every test set. "": the set's own; "maskclip", "masqclip" or "openseg": its categories in that style
    # (vocabulary/shipped.py); a file or shipped name ("coco_panoptic/openseg"): a vocabulary that matches the set.
    own.TEXT.VOCABULARY = ""
    own.TEXT.VOCABULARY_TRAIN = ""  # the same for the training sets
    # Defaults for vocabularies without templates and ensemble (the styles have both):
    own.TEXT.TEMPLATES = "name"  # template set of vocabulary/prompts.py; MaskCLIP uses the name alone
    # "first": the first name of a category (MaskCLIP); "mean": mean of its synonyms (MasQCLIP); "max": the synonym with
    # the largest logit.
    own.TEXT.ENSEMBLE = "first"
    # Background prompts of vocabularies that have none: "" or "coco_lvis", the names of COCO and LVIS that are no names
    # of the categories (vocabulary/background.py). What they win is not labelled.
    own.TEXT.BACKGROUND_PROMPTS = ""
    own.TEXT.BACKGROUND_TEMPLATES = ""  # template set of all background prompts; "": the templates of the categories

    own.TEST = CN()
    # Prompt of an extra class that competes in the softmax at test and is never predicted; "": none (MaskCLIP);
    # "background" (MasQCLIP).
    own.TEST.EXTRA_CLASS = ""
    # MasQCLIP: weight of the untuned CLIP in the geometric mean of tuned and untuned class probabilities, for the
    # categories of DATASETS.TRAIN and for all others, such as [0.4, 0.8] (FC-CLIP); []: tuned alone.
    own.TEST.UNTUNED_WEIGHTS = []
    own.TEST.OBJECT_SCORE = False  # multiply p_obj into the final score (MasQCLIP: True)
    # Share of a category in the sum of its probability and that of the best background prompt below which a mask or a
    # pixel is unknown, in [0, 1]; 0.5: the more probable one wins; 0: background prompts only share the softmax.
    own.TEST.UNKNOWN_THRESHOLD = 0.5
    # Instances: below 1, of masks with a higher IoU only the best one is kept, with its best category; 1.0: all are
    # kept, as published.
    own.TEST.DUPLICATE_IOU = 1.0
    # The networks in inference (package `acceleration`): "fp32", "bf16" or "fp16" (autocast); torch.compile; CUDA
    # graphs for the image sizes that occur again.
    own.TEST.DTYPE = "fp32"
    own.TEST.COMPILE = False
    own.TEST.CUDA_GRAPHS = False
    own.TEST.BASELINE_BATCH_SIZE = 32  # masked images per CLIP pass of the CLIP baseline
    # True: semantic predictions also hold `sem_seg`, (K, H, W) class scores, for Detectron2's SemSegEvaluator; 3.5 GB
    # for 847 categories at 1024 x 1024 pixels.
    own.TEST.CLASS_MAPS = False
    _add_stage_keys(own)


def _add_clip_keys(own: CN) -> None:
    own.CLIP = CN()
    # A builder in CLIP_REGISTRY (clip/registry.py). "PretrainedClip" uses the keys below; your own may ignore them.
    own.CLIP.BUILDER = "PretrainedClip"
    # OpenAI name ("ViT-L/14@336px"), a file, "open_clip:..." or "masqclip://..." (shipped). "": a CLIP of ARCHITECTURE,
    # whose weights come from MODEL.WEIGHTS or from training.
    own.CLIP.NAME = "ViT-L/14@336px"
    # A JSON file or shipped name such as "shapes-tiny". With a NAME: supplies what the weights do not determine (heads
    # that are not 64 wide, GELU instead of QuickGELU); all other values must agree with the weights.
    own.CLIP.ARCHITECTURE = ""
    # Tiles along each axis, besides the whole image: each mask is embedded in the tile that contains it, at a higher
    # resolution, or in the whole image. 1: no tiles. A tile covers 2 / (TILES + 1) of each side; with 2 tiles CLIP runs
    # five times per image. Masks are not refined then. A tile has the shape of the image.
    own.CLIP.TILES = 1
    # True: tiles are about square, TILES along the shorter side and more along the longer one, so that an oblong image
    # is not squashed into CLIP's square input; with TILES 1 images of more than 5 : 4 have tiles, others none.
    own.CLIP.SQUARE_TILES = False
    own.CLIP.ANTIALIAS = False  # when an image is resized for CLIP; published weights were trained without


def _add_proposer_keys(own: CN) -> None:
    proposer = own.PROPOSER = CN()
    # Source of masks: "mask2former", "mask_rcnn", "eomt", "ground_truth" (MaskCLIP, Table 7), "from_files", or a class
    # name of masqclip_d2.proposer.PROPOSER_REGISTRY.
    proposer.SOURCE = "mask2former"
    # Of "eomt": a folder with config.json and weights, or OWNER/REPO[@REVISION] of the Hugging Face Hub.
    proposer.EOMT = CN()
    proposer.EOMT.NAME = "tue-mps/coco_panoptic_eomt_large_640"
    proposer.FILES = CN()  # of "from_files"
    # Folder with a file or a folder of masks per image, or one JSON file in COCO's results format for all images.
    proposer.FILES.PATH = ""
    # Name of an image's masks in that folder; fields {stem}, {name}, {parent} (of the image file) and {image_id}. The
    # suffix (.npz, .json, none for a folder of PNGs) is optional.
    proposer.FILES.PATTERN = "{stem}"
    proposer.ENCODER_FFN_DIM = 1024  # feed-forward width of the deformable encoder (1024 in published weights)
    _add_mask_rcnn_keys(proposer)


def _add_mask_rcnn_keys(proposer: CN) -> None:
    """Mask R-CNN; default sizes of torchvision's maskrcnn_resnet50_fpn, which are those of Detectron2's R50-FPN."""
    rcnn = proposer.MASK_RCNN = CN()
    rcnn.VERSION = "v1"  # torchvision's maskrcnn_resnet50_fpn; "v2": its maskrcnn_resnet50_fpn_v2
    rcnn.NUM_CLASSES = 2  # in training: background and object. A frozen proposer takes the number from its weights
    rcnn.FROZEN_BN_EPS = 1e-5  # of TorchvisionResNet; 0.0 for torchvision's v1 weights, as in their training
    rcnn.CHANNELS = 256  # of the feature pyramid, the region proposal network and the mask head
    rcnn.BOX_HEAD_DIM = 1024
    rcnn.ANCHOR_SIZES = [32, 64, 128, 256, 512]  # pixels, one per level of the pyramid: strides 4, 8, 16, 32 and half
    rcnn.ROIS_PER_IMAGE = 512  # regions per image in the losses of box and mask head
    # Proposals with a lower object score are dropped. MaskCLIP ignores that score, so a bad proposal that is kept can
    # win against a good one; a weak Mask R-CNN needs a higher threshold (docs/shapes_training.md).
    rcnn.SCORE_THRESHOLD = 0.05


def _add_stage_keys(own: CN) -> None:
    """Settings of the stages that train MaskCLIP, MasQCLIP and the student."""
    # Relative Mask Attention (MaskCLIP, Sec. 3.3).
    own.RMA = CN()
    own.RMA.LAYERS = []  # blocks of CLIP with RMA, counted from 1 (the paper: 6, 12, 18, 24); empty: w/o RMA
    own.RMA.REFINE_MASKS = True  # Eq. 5
    own.RMA.EXTRA_CLASS = "other"  # prompt of the class that competes in training
    own.RMA.NO_OBJECT_WEIGHT = 0.0  # of unmatched proposals in the class loss (published: 0)

    # MasQ-Tuning (MasQCLIP, stage 2).
    own.MASQ_TUNING = CN()
    own.MASQ_TUNING.PROJECTIONS = ["query"]  # new projections; "key", "value" and [] are ablations
    own.MASQ_TUNING.START_AS_CLIP = True  # f'_Q starts as CLIP's projection; False: random (published)
    own.MASQ_TUNING.TRAIN_POSITION = False  # also train the mask class tokens' position embedding (published: True)
    own.MASQ_TUNING.EXTRA_CLASS = "background"  # prompt of the class of proposals without a label
    own.MASQ_TUNING.DICE_THRESHOLD = 0.6  # dice above which a proposal takes the category of a mask
    own.MASQ_TUNING.NO_OBJECT_WEIGHT = 0.1  # of proposals without a label in the class loss
    own.MASQ_TUNING.LOSS_WEIGHT = 2.0
    # Masks to learn from: "proposals" (the paper), or "ground_truth", without running the proposer (MaskCLIP++).
    own.MASQ_TUNING.MASKS = "proposals"

    # Progressive Distillation (MasQCLIP, stage 1).
    own.DISTILLATION = CN()
    own.DISTILLATION.TEACHER = ""  # weights of the frozen teacher; "": MODEL.WEIGHTS, the student's initial weights
    own.DISTILLATION.ROUNDS = 2  # in `masqclip run-stages`; each student is the teacher of the next round
    own.DISTILLATION.SCORE_THRESHOLD = 0.8  # minimum score of a pseudo mask
    own.DISTILLATION.BASE_OVERLAP_LIMIT = 0.1  # maximum dice of a pseudo mask with any base mask
    own.DISTILLATION.PSEUDO_OVERLAP_LIMIT = 0.1  # and with any pseudo mask of a higher score
    own.DISTILLATION.NUM_POINTS = 112 * 112  # random points at which dice is computed


def _add_shapes_keys(cfg: CN) -> None:
    """Keys of the embedded world Shapes."""
    shapes = cfg.MODEL.SHAPES = CN()
    shapes.BACKBONE_WIDTHS = [32, 64, 96, 128]  # channels of res2..res5 of TinyBackbone
    shapes.PATCH_DROPOUT = 0.0  # stage clip_pretraining: share of patches dropped from each image, in [0, 1)
    # Stage clip_pretraining: a smaller CLIP to start from, named as CLIP.NAME; "": from nothing.
    shapes.GROW_FROM = ""
    shapes.AVERAGE_DECAY = 0.0  # stage clip_pretraining: decay of the running average of the weights; 0: no average


def flat_items(cfg: CN, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of every leaf of a configuration, keys with dots."""
    for key, value in cfg.items():
        if isinstance(value, CN):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _type_error(error: ValueError, where: str) -> ValueError:
    found = _TYPE_MISMATCH.match(str(error))
    if found is None:
        return error
    expected, given, key = found.groups()
    if expected.endswith("CfgNode"):
        return ValueError(f"Config key {key} in {where} is a section and takes keys of its own; got {given}.")
    example = f" such as {_EXAMPLES[expected]}" if expected in _EXAMPLES else ""
    return ValueError(f"Config key {key} in {where} takes a value of type {expected}{example}; got {given}.")


def _unknown_key_message(error: KeyError | str, known: set[str], where: str) -> str:
    key = str(error.args[0] if isinstance(error, KeyError) else error)
    renamed = next((old for old in RENAMED_KEYS if re.search(rf"(?<![\w.]){re.escape(old)}(?![\w.])", key)), None)
    if renamed is not None:
        return f"Config key {renamed} in {where} was renamed to {RENAMED_KEYS[renamed]}."
    key = key.rsplit(": ", 1)[-1].strip("'\" ")
    of_section = [f"{old} was renamed to {new}" for old, new in RENAMED_KEYS.items() if old.startswith(f"{key}.")]
    if of_section:
        return f"There is no config section {key}, which {where} has; {', '.join(of_section)}."
    near = difflib.get_close_matches(key, sorted(known), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Unknown config key {key!r} in {where}.{hint}"
