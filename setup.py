"""Packaging of masqclip_d2. Nothing to compile; every dependency comes from PyPI by its ordinary name."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
BUNDLED = "masqclip_d2._bundled"


def version() -> str:
    for line in (ROOT / "masqclip_d2" / "__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("masqclip_d2/__init__.py has no __version__.")


def requirements() -> list[str]:
    lines = (ROOT / "masqclip_d2" / "diagnostics" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# The bundled Detectron2 subset has no package above it on purpose (it must not be importable as masqclip_d2._bundled),
# and the configs lie beside the package in a checkout: both are named here by hand.
packages = find_packages(include=["masqclip_d2", "masqclip_d2.*"])
packages += [f"{BUNDLED}.{name}" for name in find_packages("masqclip_d2/_bundled")]
packages += ["masqclip_d2.configs"]

setup(
    name="masqclip_d2",
    version=version(),
    description="Open-vocabulary semantic, instance and panoptic segmentation: MaskCLIP and MasQCLIP for Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=packages,
    package_dir={"masqclip_d2.configs": "configs"},
    package_data={
        "masqclip_d2": [
            "**/*.json",
            "diagnostics/requirements.txt",
            "shapes/samples/*.png",
            "weights/*.safetensors",
            "weights/*.md",
        ],
        "masqclip_d2.configs": ["**/*.yaml"],
    },
    install_requires=requirements(),
    extras_require={
        # What the real Detectron2 imports beside the above; Detectron2 itself is not on PyPI: put a checkout of
        # facebookresearch/detectron2 on PYTHONPATH (README.md, "With the real Detectron2").
        "detectron2": ["omegaconf>=2.1", "hydra-core>=1.1", "packaging", "black"],
        # For the evaluation on LVIS. It asks for opencv-python, which lies over opencv-python-headless;
        # `pip install --no-deps lvis` does not, and all else that it imports is above.
        "lvis": ["lvis>=0.5.3"],
        "dev": ["pytest>=8.0", "ruff>=0.6", "build", "omegaconf>=2.1", "hydra-core>=1.1"],
        "test": ["pytest>=8.0"],
    },
    entry_points={
        "console_scripts": [
            "masqclip-train = masqclip_d2.cli.train:main",
            "masqclip-demo = masqclip_d2.cli.demo:main",
            "masqclip-make-shapes = masqclip_d2.cli.make_shapes:main",
            "masqclip-doctor = masqclip_d2.cli.doctor:main",
            "masqclip-check-data = masqclip_d2.cli.check_data:main",
            "masqclip-prepare = masqclip_d2.cli.prepare:main",
            "masqclip-run-stages = masqclip_d2.cli.run_stages:main",
            "masqclip-shapes-results = projects.shapes_results.run:main",
            "masqclip-make-figures = projects.figures.make_figures:main",
            "masqclip-evaluate-predictions = masqclip_d2.cli.evaluate_predictions:main",
            "masqclip-convert-checkpoint = masqclip_d2.cli.convert_checkpoint:main",
        ]
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
