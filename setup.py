"""Packages that pyproject.toml cannot list; everything else about the distribution is there."""

from setuptools import find_packages, setup

BUNDLED = "masqclip_d2._bundled"

# find_packages finds neither the bundled Detectron2, which lies in a folder without __init__.py so that it cannot be
# imported as masqclip_d2._bundled, nor the configs, which lie next to the package in a checkout.
packages = find_packages(include=["masqclip_d2", "masqclip_d2.*"])
packages += [f"{BUNDLED}.{name}" for name in find_packages("masqclip_d2/_bundled")]
packages += ["masqclip_d2.configs"]

setup(packages=packages, package_dir={"masqclip_d2.configs": "configs"})
