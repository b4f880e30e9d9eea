"""The default configuration: the keys of Detectron2 that Mask2Former-style YAML files and commands set.

Keys and values are described in Detectron2's configuration reference. Other keys of Detectron2 are unknown keys, which
YAML files may not set.
"""

from __future__ import annotations

from .config import CfgNode

_C = CfgNode(
    {
        "VERSION": 2,
        "OUTPUT_DIR": "./output",
        "SEED": -1,  # negative: a random seed
        "CUDNN_BENCHMARK": False,
        "FLOAT32_PRECISION": "",
        "VIS_PERIOD": 0,
        "MODEL": {
            "DEVICE": "cuda",  # Detectron2's default; masqclip_d2 falls back to the CPU
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "WEIGHTS": "",
            "PIXEL_MEAN": [103.530, 116.280, 123.675],  # in the channel order of INPUT.FORMAT
            "PIXEL_STD": [1.0, 1.0, 1.0],
            "MASK_ON": False,
            "KEYPOINT_ON": False,
            "LOAD_PROPOSALS": False,
            "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
            "RESNETS": {
                "DEPTH": 50,
                "OUT_FEATURES": ["res4"],
                "NUM_GROUPS": 1,
                "NORM": "FrozenBN",
                "WIDTH_PER_GROUP": 64,
                "STRIDE_IN_1X1": True,
                "RES5_DILATION": 1,
                "RES2_OUT_CHANNELS": 256,
                "STEM_OUT_CHANNELS": 64,
            },
            "SEM_SEG_HEAD": {
                "NAME": "SemSegFPNHead",
                "IN_FEATURES": ["p2", "p3", "p4", "p5"],
                "IGNORE_VALUE": 255,
                "NUM_CLASSES": 54,
                "CONVS_DIM": 128,
                "COMMON_STRIDE": 4,
                "NORM": "GN",
                "LOSS_WEIGHT": 1.0,
            },
        },
        "INPUT": {
            "MIN_SIZE_TRAIN": (800,),
            "MIN_SIZE_TRAIN_SAMPLING": "choice",
            "MAX_SIZE_TRAIN": 1333,
            "MIN_SIZE_TEST": 800,
            "MAX_SIZE_TEST": 1333,
            "RANDOM_FLIP": "horizontal",  # or "vertical", "none"
            "CROP": {"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]},
            "FORMAT": "BGR",
            "MASK_FORMAT": "polygon",  # or "bitmask"
        },
        "DATASETS": {"TRAIN": (), "TEST": ()},
        "DATALOADER": {
            "NUM_WORKERS": 4,
            "ASPECT_RATIO_GROUPING": True,
            "SAMPLER_TRAIN": "TrainingSampler",
            "REPEAT_THRESHOLD": 0.0,
            "REPEAT_SQRT": True,
            "FILTER_EMPTY_ANNOTATIONS": True,
        },
        "SOLVER": {
            "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
            "MAX_ITER": 40000,
            "BASE_LR": 0.001,
            "BASE_LR_END": 0.0,
            "MOMENTUM": 0.9,
            "NESTEROV": False,
            "WEIGHT_DECAY": 0.0001,
            "WEIGHT_DECAY_NORM": 0.0,
            "WEIGHT_DECAY_BIAS": None,
            "BIAS_LR_FACTOR": 1.0,
            "GAMMA": 0.1,
            "STEPS": (30000,),
            "NUM_DECAYS": 3,
            "WARMUP_FACTOR": 0.001,
            "WARMUP_ITERS": 1000,
            "WARMUP_METHOD": "linear",
            "RESCALE_INTERVAL": False,
            "CHECKPOINT_PERIOD": 5000,
            "IMS_PER_BATCH": 16,
            "REFERENCE_WORLD_SIZE": 0,
            "CLIP_GRADIENTS": {"ENABLED": False, "CLIP_TYPE": "value", "CLIP_VALUE": 1.0, "NORM_TYPE": 2.0},
            "AMP": {"ENABLED": False},
        },
        "TEST": {
            "EXPECTED_RESULTS": [],
            "EVAL_PERIOD": 0,
            "DETECTIONS_PER_IMAGE": 100,
            "KEYPOINT_OKS_SIGMAS": [],
            "AUG": {
                "ENABLED": False,
                "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
                "MAX_SIZE": 4000,
                "FLIP": True,
            },
            "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
        },
    }
)
