"""detectron2.config: the configuration tree, and objects built from it."""

import masqclip_d2  # isort: skip
import pytest
import yaml
from detectron2.config import CfgNode, configurable, get_cfg


@pytest.fixture
def cfg():
    return get_cfg()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_default_tree_is_fresh_and_open(cfg):
    cfg.MODEL.RESNETS.DEPTH = 18
    assert get_cfg().MODEL.RESNETS.DEPTH == 50
    assert not get_cfg().is_frozen()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("VERSION", 2),
        ("SEED", -1),
        ("OUTPUT_DIR", "./output"),
        ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675]),
        ("MODEL.RESNETS.STRIDE_IN_1X1", True),
        ("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", 255),
        ("INPUT.MIN_SIZE_TRAIN", (800,)),
        ("INPUT.CROP.SIZE", [0.9, 0.9]),
        ("INPUT.FORMAT", "BGR"),
        ("DATALOADER.NUM_WORKERS", 4),
        ("SOLVER.STEPS", (30000,)),
        ("SOLVER.WEIGHT_DECAY_BIAS", None),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"),
        ("TEST.AUG.MIN_SIZES", (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)),
        ("TEST.DETECTIONS_PER_IMAGE", 100),
    ],
)
def test_default_values(cfg, key, value):
    node = cfg
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_base_is_merged_first(cfg, tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "root.yaml", "VERSION: 2\nSEED: 1\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 10}\n")
    write(tmp_path / "base.yaml", "_BASE_: root.yaml\nSOLVER: {BASE_LR: 0.25}\n")
    child = write(tmp_path / "sub" / "child.yaml", "_BASE_: ../base.yaml\nINPUT: {MIN_SIZE_TRAIN: [640, 672]}\n")
    cfg.merge_from_file(child)
    assert (cfg.SEED, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (1, 0.25, 10)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (640, 672)  # converted to the type of the default


def test_numbers_in_yaml_and_type_changes(cfg, tmp_path):
    cfg.merge_from_file(
        write(tmp_path / "a.yaml", "VERSION: 2\nSOLVER: {WEIGHT_DECAY: 1e-5, WEIGHT_DECAY_BIAS: 0.1}\n")
    )
    assert cfg.SOLVER.WEIGHT_DECAY == 1e-5
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS == 0.1
    with pytest.raises(ValueError, match="Type mismatch"):
        cfg.merge_from_file(write(tmp_path / "b.yaml", "VERSION: 2\nSOLVER: {MAX_ITER: many}\n"))


def test_unknown_keys_are_refused(cfg, tmp_path):
    with pytest.raises(KeyError, match="Non-existent config key: SOLVER.MAX_ITERS"):
        cfg.merge_from_file(write(tmp_path / "a.yaml", "VERSION: 2\nSOLVER: {MAX_ITERS: 10}\n"))
    with pytest.raises(AssertionError, match="Non-existent key: SOLVER.MAX_ITERS"):
        cfg.merge_from_list(["SOLVER.MAX_ITERS", "10"])


def test_missing_file_is_refused(cfg, tmp_path):
    with pytest.raises(AssertionError, match="does not exist"):
        cfg.merge_from_file(str(tmp_path / "no.yaml"))


def test_file_without_version_is_version_2(cfg, tmp_path):
    cfg.merge_from_file(write(tmp_path / "a.yaml", "SEED: 5\n"))
    assert (cfg.SEED, cfg.VERSION) == (5, 2)


@pytest.mark.skipif(masqclip_d2.detectron2_backend().kind == "real", reason="the real one runs python tags")
def test_yaml_that_runs_code_is_refused(cfg, tmp_path):
    path = write(tmp_path / "a.yaml", "VERSION: 2\nDATASETS:\n  TRAIN: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(yaml.constructor.ConstructorError):
        cfg.merge_from_file(path)
    with pytest.raises(ValueError, match="Unsafe YAML"):
        cfg.merge_from_file(path, allow_unsafe=True)


@pytest.mark.skipif(masqclip_d2.detectron2_backend().kind == "real", reason="the real one converts old versions")
def test_other_version_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match="VERSION 1; expected 2"):
        cfg.merge_from_file(write(tmp_path / "a.yaml", "VERSION: 1\nSEED: 5\n"))


def test_merge_from_list(cfg):
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", "(3,4)", "DATASETS.TEST", ("a", "b"), "SOLVER.BASE_LR", "0.5"])
    assert cfg.INPUT.MIN_SIZE_TRAIN == (3, 4)
    assert cfg.DATASETS.TEST == ("a", "b")
    assert cfg.SOLVER.BASE_LR == 0.5
    with pytest.raises(AssertionError, match="odd length"):
        cfg.merge_from_list(["SEED"])
    with pytest.raises(ValueError, match="Type mismatch"):
        cfg.merge_from_list(["SOLVER.MAX_ITER", "ten"])


def test_freeze(cfg):
    copy = cfg.clone()
    cfg.freeze()
    assert cfg.is_frozen() and cfg.MODEL.is_frozen() and not copy.is_frozen()
    with pytest.raises(AttributeError):
        cfg.SEED = 1
    with pytest.raises(AttributeError):
        cfg.MODEL.DEVICE = "cpu"
    cfg.defrost()
    cfg.SEED = 1
    assert cfg.SEED == 1


def test_dump_can_be_merged_again(cfg, tmp_path):
    cfg.SOLVER.STEPS = (1, 2)
    cfg.MODEL.WEIGHTS = "x.pth"
    restored = get_cfg()
    restored.merge_from_file(write(tmp_path / "dump.yaml", cfg.dump()))
    assert restored.SOLVER == cfg.SOLVER and restored.INPUT == cfg.INPUT and restored.MODEL.WEIGHTS == "x.pth"


class Base:
    @configurable
    def __init__(self, a, *, b=2):
        self.a, self.b = a, b

    @classmethod
    def from_config(cls, cfg, extra=0):
        return {"a": cfg.A + extra}


class Child(Base):
    @classmethod
    def from_config(cls, cfg):
        return {"a": -cfg.A, "b": 7}


class VarKeywords(Base):
    @classmethod
    def from_config(cls, cfg, **kwargs):
        return {"a": sorted(kwargs)}


def ab(obj):
    return obj.a, obj.b


def test_configurable_class():
    node = CfgNode({"A": 10})
    assert ab(Base(1)) == (1, 2)
    assert ab(Base(a=1, b=3)) == (1, 3)
    assert ab(Base(node)) == (10, 2)
    assert ab(Base(cfg=node)) == (10, 2)
    assert ab(Base(node, b=3)) == (10, 3)
    assert ab(Base(node, a=0, b=3)) == (0, 3)
    assert ab(Base(node, 5)) == (15, 2), "further positional arguments go to from_config"
    assert ab(Base(node, extra=5)) == (15, 2), "keywords that from_config knows go there, and nowhere else"
    assert ab(Child(node)) == (-10, 7), "from_config of the subclass"
    assert ab(VarKeywords(node, b=3)) == (["b"], 2), "from_config with ** takes all keywords"
    with pytest.raises(TypeError):
        Base()


class NoFromConfig:
    @configurable
    def __init__(self, a):
        self.a = a


class NoClassmethod(NoFromConfig):
    def from_config(self, cfg):
        return {"a": 1}


class NoCfgParameter(NoFromConfig):
    @classmethod
    def from_config(cls, config):
        return {"a": 1}


def test_configurable_class_errors():
    node = CfgNode()
    for argument in (node, 3):
        with pytest.raises(AttributeError):
            NoFromConfig(argument)
        with pytest.raises(TypeError, match="classmethod"):
            NoClassmethod(argument)
    with pytest.raises(TypeError, match="cfg"):
        NoCfgParameter(node)


def test_configurable_function():
    @configurable(from_config=lambda cfg, scale=1: {"a": cfg.A * scale})
    def function(a, b=2):
        """What it does."""
        return a, b

    node = CfgNode({"A": 10})
    assert function(1) == (1, 2)
    assert function(node) == (10, 2)
    assert function(node, scale=3, b=4) == (30, 4)
    assert function.from_config(node) == {"a": 10}
    assert function.__doc__ == "What it does."
