"""Packages that pyproject.toml cannot list; everything else about the distribution is there."""

from setuptools import find_namespace_packages, setup

# Namespace packages, since folders of data and that of the bundled Detectron2 have no __init__.py. The configs lie
# next to the package in a checkout and inside it when installed.
configs = ["masqclip_d2.configs", *(f"masqclip_d2.configs.{name}" for name in find_namespace_packages("configs"))]
packages = find_namespace_packages(include=["masqclip_d2", "masqclip_d2.*"], exclude=["*__pycache__*"])

setup(packages=packages + configs, package_dir={"masqclip_d2.configs": "configs"})
