"""Every configuration key of this package, and configurations by name.

Mask2Former's own keys (MODEL.MASK_FORMER.*, the extras of MODEL.SEM_SEG_HEAD, INPUT and SOLVER) keep their names and
meanings, so that its ResNet YAML files load; those that the class-agnostic proposer does not need are read by nobody
and say so here. Keys under MODEL.MASQCLIP are ours: a key there that nobody reads is an error (tests/test_config.py).
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg
from detectron2.projects.deeplab import add_deeplab_config

# Keys of earlier versions -> the key that replaced them. An old key is an error that names the new one.
RENAMED_KEYS = {
    "TEST.PICTURES": "TEST.NUM_VISUALIZATIONS",
    "MODEL.MASQCLIP.TEXT.SYNONYMS": "MODEL.MASQCLIP.TEXT.ENSEMBLE",
    "MODEL.MASQCLIP.PROPOSER.TINY_BACKBONE_WIDTHS": "MODEL.SHAPES.BACKBONE_WIDTHS",
    "MODEL.MASQCLIP.CLIP_PRETRAINING.PATCH_DROPOUT": "MODEL.SHAPES.PATCH_DROPOUT",
}


def get_masqclip_cfg() -> CN:
    """Detectron2's defaults plus DeepLab's keys plus ours: what every YAML file of this project builds on."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_masqclip_config(cfg)
    return cfg


def load_config(name_or_path: str | Path, opts: list[str] | tuple[str, ...] = ()) -> CN:
    """Read a configuration by path or by the name of a shipped one, then apply KEY VALUE overrides.

    Args:
        name_or_path: a YAML file, or a shipped name such as "shapes/maskclip_worma" (with or without ".yaml").
        opts: KEY VALUE pairs, as on the command line.

    Returns:
        A node that is not frozen.

    Raises:
        FileNotFoundError: there is no such file and no such shipped name.
        KeyError: a key of the file or of `opts` does not exist; the message names the nearest existing ones.
        ValueError: `opts` has an odd length, or a value has another type than the key.
    """
    cfg = get_masqclip_cfg()
    path = find_config(name_or_path)
    known = {key for key, _ in flat_items(cfg)}
    try:
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except KeyError as error:
        raise KeyError(_unknown_key_message(error, known, str(path))) from None
    merge_overrides(cfg, opts)
    return cfg


def merge_overrides(cfg: CN, opts: list[str] | tuple[str, ...]) -> None:
    """Apply KEY VALUE pairs in place; errors as in `load_config`."""
    opts = list(opts)
    if len(opts) % 2:
        raise ValueError(f"Overrides are KEY VALUE pairs, got an odd number of words: {' '.join(map(str, opts))}.")
    known = {key for key, _ in flat_items(cfg)}
    for key in opts[::2]:
        if key not in known:
            raise KeyError(_unknown_key_message(key, known, "the command line"))
    cfg.merge_from_list(opts)


def find_config(name_or_path: str | Path) -> Path:
    """Path of a configuration given by path or by shipped name (see `load_config`)."""
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = str(name_or_path).removeprefix("configs/").removesuffix(".yaml")
    shipped = config_dir() / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    names = shipped_configs()
    near = difflib.get_close_matches(name, names, n=3) or names
    raise FileNotFoundError(
        f"Config {str(name_or_path)!r} is neither a file nor a shipped configuration. Did you mean: {', '.join(near)}?"
    )


def config_dir() -> Path:
    """Folder of the shipped configurations: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def shipped_configs() -> list[str]:
    """Names that `load_config` knows, such as "shapes/teacher"; files that others build on (base/) included."""
    return sorted(str(path.relative_to(config_dir()).with_suffix("")) for path in config_dir().rglob("*.yaml"))


def adapt_to_machine(cfg: CN, num_gpus: int | None = None) -> None:
    """Make `cfg` run where it is: MODEL.DEVICE becomes cpu where its device is missing or `num_gpus` is 0.

    Changes `cfg` in place and says so once in the log.
    """
    import torch

    device = torch.device(cfg.MODEL.DEVICE).type
    # Without a driver, a build for CUDA names that device all the same, so ask whether it is there first.
    there = torch.accelerator.is_available()
    available = device == "cpu" or (there and torch.accelerator.current_accelerator().type == device)
    if device != "cpu" and (num_gpus == 0 or not available):
        cfg.MODEL.DEVICE = "cpu"
        why = "--num-gpus is 0" if num_gpus == 0 else f"there is no {device} device"
        logging.getLogger(__name__).warning("Running on the CPU, since %s.", why)


def add_masqclip_config(cfg: CN) -> None:
    """Add all keys of this package to `cfg`, after `add_deeplab_config`. Letters: see docs/architecture.md."""
    cfg.STAGES = []  # configurations of the stages before this one, in order; masqclip run-stages follows them
    cfg.TEST.SAVE_PREDICTIONS = False  # leave all answers in OUTPUT_DIR/inference, for masqclip evaluate-predictions
    # Keep the weights with the highest value of this metric as model_best.pth, such as "panoptic_seg/PQ_novel"; of
    # several test sets "NAME/panoptic_seg/PQ". "": keep none. Looked at after every evaluation (TEST.EVAL_PERIOD).
    cfg.TEST.BEST_CHECKPOINT_METRIC = ""
    # Pictures of answers to the first images of each test set, for TensorBoard, at every evaluation in training
    # (TEST.EVAL_PERIOD); 0: none.
    cfg.TEST.NUM_VISUALIZATIONS = 4
    _add_mask2former_keys(cfg)
    _add_masqclip_keys(cfg)
    _add_shapes_keys(cfg)
    for old, new in RENAMED_KEYS.items():
        cfg.register_renamed_key(old, new)


def _add_mask2former_keys(cfg: CN) -> None:
    cfg.INPUT.DATASET_MAPPER_NAME = "panoptic"  # a name of masqclip_d2.data.mappers
    cfg.INPUT.COLOR_AUG_SSD = False  # photometric jitter of SSD
    cfg.INPUT.SIZE_DIVISIBILITY = -1  # pad training images to this size; -1: not
    cfg.INPUT.IMAGE_SIZE = 1024  # pixels; side of the square crop of large-scale jitter
    cfg.INPUT.MIN_SCALE = 0.1  # large-scale jitter: the image is fitted into this share of IMAGE_SIZE ...
    cfg.INPUT.MAX_SCALE = 2.0  # ... up to this

    cfg.SOLVER.OPTIMIZER = "ADAMW"  # or "SGD", or "MUON" for models with transformer blocks of CLIP
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
    former.ENC_LAYERS = 0  # read by nobody: layers are TRANSFORMER_ENC_LAYERS
    former.DEC_LAYERS = 10  # predictions, one more than decoder layers (published meaning)
    former.PRE_NORM = False  # only False is supported
    former.HIDDEN_DIM = 256
    former.NUM_OBJECT_QUERIES = 100  # Q
    former.TRANSFORMER_IN_FEATURE = "multi_scale_pixel_decoder"  # read by nobody
    former.ENFORCE_INPUT_PROJ = False  # only False is supported
    former.SIZE_DIVISIBILITY = 32  # pixels; inputs of the proposer are padded to multiples of it
    former.TRANSFORMER_DECODER_NAME = "MultiScaleMaskedTransformerDecoder"  # read by nobody: there is one decoder
    former.TRAIN_NUM_POINTS = 112 * 112  # points a mask is sampled at in the losses
    former.OVERSAMPLE_RATIO = 3.0  # candidates per point
    former.IMPORTANCE_SAMPLE_RATIO = 0.75  # share of points chosen by uncertainty
    former.TEST = CN()
    former.TEST.SEMANTIC_ON = True
    former.TEST.INSTANCE_ON = False
    former.TEST.PANOPTIC_ON = False
    former.TEST.OBJECT_MASK_THRESHOLD = 0.0  # panoptic: a mask below this score is dropped, in [0, 1]
    former.TEST.OVERLAP_THRESHOLD = 0.0  # panoptic: a mask that keeps less than this share of its pixels is dropped
    # Semantic: masks are resized to the answer before they are summed (True), or class maps after it (False, as
    # published where only semantic output is on; here, no answer depends on which others are on).
    former.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = True

    head = cfg.MODEL.SEM_SEG_HEAD
    head.MASK_DIM = 256  # C of mask_features
    head.TRANSFORMER_ENC_LAYERS = 6
    head.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"  # read by nobody: there is one pixel decoder
    head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS = 4
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8


def _add_masqclip_keys(cfg: CN) -> None:
    ours = cfg.MODEL.MASQCLIP = CN()

    ours.PROPOSER = CN()
    # Source of masks: "mask2former", "mask_rcnn", "ground_truth" (MaskCLIP, Table 7), "from_files", or a class name of
    # masqclip_d2.proposer.PROPOSER_REGISTRY.
    ours.PROPOSER.SOURCE = "mask2former"
    ours.PROPOSER.FILES = CN()  # of "from_files"
    # Folder with one file or folder of masks per image, or one JSON file of COCO's results for the whole dataset.
    ours.PROPOSER.FILES.PATH = ""
    # Name of an image's masks in that folder; fields {stem}, {name}, {parent} (of the image file) and {image_id}. The
    # suffix (.npz, .json, none for a folder of PNGs) may be left out.
    ours.PROPOSER.FILES.PATTERN = "{stem}"
    ours.PROPOSER.ENCODER_FFN_DIM = 1024  # feed-forward width of the deformable encoder (1024 in published weights)
    _add_mask_rcnn_keys(ours.PROPOSER)

    # What an image is padded to, for the proposer and for CLIP. "image": each image for itself, and CLIP sees no
    # padding, so that its result does not depend on its batch mates; "batch": the largest of the batch, which CLIP
    # sees with its padding, as in the published code.
    ours.PADDING = "image"

    ours.CLIP = CN()
    # OpenAI name ("ViT-L/14@336px"), a file, "open_clip:..." or "masqclip://..." (shipped); "": ARCHITECTURE says the
    # sizes, and the numbers come with MODEL.WEIGHTS or from training.
    ours.CLIP.NAME = "ViT-L/14@336px"
    # A JSON file or shipped name such as "shapes-tiny". With a NAME: what that file of weights cannot tell (heads that
    # are not 64 wide, GELU for QuickGELU); the rest is compared.
    ours.CLIP.ARCHITECTURE = ""
    ours.CLIP.ANTIALIAS = False  # resize of the image for CLIP; published weights were trained without

    ours.TEXT = CN()
    # Words of every test set: "": the set's own; "maskclip", "masqclip" or "openseg": these in another form
    # (vocabulary/shipped.py); a vocabulary file or shipped name ("coco_panoptic/openseg"): words that fit the set.
    ours.TEXT.VOCABULARY = ""
    ours.TEXT.VOCABULARY_TRAIN = ""  # the same for the training sets
    # For vocabularies that do not say theirs, as the forms do:
    ours.TEXT.TEMPLATES = "name"  # template set of vocabulary/prompts.py; MaskCLIP uses the bare name
    # "first": a category's name alone (MaskCLIP); "mean": its synonyms averaged (MasQCLIP); "max": the synonym with the
    # largest logit.
    ours.TEXT.ENSEMBLE = "first"

    ours.TEST = CN()
    # Text of an extra class that competes at test and whose column is then dropped; "": none. MaskCLIP: none;
    # MasQCLIP: "background".
    ours.TEST.EXTRA_CLASS = ""
    ours.TEST.OBJECT_SCORE = False  # multiply p_obj into the final score (MasQCLIP: True)
    ours.TEST.BASELINE_BATCH_SIZE = 32  # masked images per CLIP pass of the CLIP baseline
    # Semantic output is the label map `sem_seg_labels`. True: also `sem_seg`, (K, H, W) class scores, for Detectron2's
    # own SemSegEvaluator and for code that reads it; 3.5 GB for 847 words at 1024 x 1024 pixels.
    ours.TEST.CLASS_MAPS = False
    _add_stage_keys(ours)


def _add_mask_rcnn_keys(proposer: CN) -> None:
    """Mask R-CNN; the sizes are those of torchvision's maskrcnn_resnet50_fpn, which is also Detectron2's R50-FPN."""
    rcnn = proposer.MASK_RCNN = CN()
    rcnn.NUM_CLASSES = 2  # background and object; 91 for torchvision's released weights, whose labels are ignored
    rcnn.FROZEN_BN_EPS = 1e-5  # of TorchvisionResNet; 0.0 for torchvision's released weights, which learned with that
    rcnn.CHANNELS = 256  # of feature pyramid, region proposals and mask head
    rcnn.BOX_HEAD_DIM = 1024
    rcnn.ANCHOR_SIZES = [32, 64, 128, 256, 512]  # pixels, one per level of the pyramid: strides 4, 8, 16, 32 and half
    rcnn.ROIS_PER_IMAGE = 512  # regions of an image that the losses of box and mask head look at
    # Proposals with a lower object score are left out. MaskCLIP does not use that score, so each doubtful proposal that
    # stays can win against a good one; a weak Mask R-CNN needs more (docs/shapes_training.md).
    rcnn.SCORE_THRESHOLD = 0.05


def _add_stage_keys(ours: CN) -> None:
    """What the trained stages learn, and from what."""
    # Relative Mask Attention (MaskCLIP, Sec. 3.3).
    ours.RMA = CN()
    ours.RMA.LAYERS = []  # blocks of CLIP with RMA, counted from 1 (the paper: 6, 12, 18, 24); empty: w/o RMA
    ours.RMA.REFINE_MASKS = True  # Eq. 5
    ours.RMA.EXTRA_CLASS = "other"  # text of the class that competes in training
    ours.RMA.NO_OBJECT_WEIGHT = 0.0  # of proposals without a match in the class loss (published: 0)

    # MasQ-Tuning (MasQCLIP, stage 2).
    ours.MASQ_TUNING = CN()
    ours.MASQ_TUNING.PROJECTIONS = ["query"]  # which projections are new: "query"; "key", "value" or [] are ablations
    ours.MASQ_TUNING.START_AS_CLIP = True  # f'_Q starts as CLIP's projection; False: as a fresh linear map (published)
    ours.MASQ_TUNING.TRAIN_POSITION = False  # the mask class tokens' position learns too (published: True)
    ours.MASQ_TUNING.EXTRA_CLASS = "background"  # text of the class of proposals without a label
    ours.MASQ_TUNING.DICE_THRESHOLD = 0.6  # a proposal takes the category of the mask it overlaps more than this
    ours.MASQ_TUNING.NO_OBJECT_WEIGHT = 0.1  # of proposals without a label in the loss
    ours.MASQ_TUNING.LOSS_WEIGHT = 2.0

    # Progressive Distillation (MasQCLIP, stage 1).
    ours.DISTILLATION = CN()
    ours.DISTILLATION.TEACHER = ""  # weights of the frozen teacher; "": MODEL.WEIGHTS, which the student starts from
    ours.DISTILLATION.ROUNDS = 2  # of masqclip run-stages: each student is the teacher of the next round
    ours.DISTILLATION.SCORE_THRESHOLD = 0.8  # a teacher's mask must score above this
    ours.DISTILLATION.BASE_OVERLAP_LIMIT = 0.1  # its dice with every base mask must be below this
    ours.DISTILLATION.PSEUDO_OVERLAP_LIMIT = 0.1  # and with every better pseudo mask below this


def _add_shapes_keys(cfg: CN) -> None:
    """Keys of the embedded world Shapes."""
    shapes = cfg.MODEL.SHAPES = CN()
    shapes.BACKBONE_WIDTHS = [32, 64, 96, 128]  # channels of res2..res5 of TinyBackbone
    shapes.PATCH_DROPOUT = 0.0  # stage clip_pretraining: share of patches left out of each training image, in [0, 1)


def flat_items(cfg: CN, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of every leaf of a configuration, keys with dots."""
    for key, value in cfg.items():
        if isinstance(value, CN):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _unknown_key_message(error: KeyError | str, known: set[str], where: str) -> str:
    key = str(error.args[0] if isinstance(error, KeyError) else error)
    renamed = next((old for old in RENAMED_KEYS if re.search(rf"(?<![\w.]){re.escape(old)}(?![\w.])", key)), None)
    if renamed is not None:
        return f"Config key {renamed} in {where} was renamed to {RENAMED_KEYS[renamed]}."
    key = key.rsplit(": ", 1)[-1].strip("'\" ")
    near = difflib.get_close_matches(key, sorted(known), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Unknown config key {key!r} in {where}.{hint}"
