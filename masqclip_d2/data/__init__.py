"""Datasets: registration, preparation, mappers, image and label files.

This module imports nothing, so that rendering needs neither torch nor Detectron2. Importing `registration` or `mappers`
registers the datasets.

May import `meta_arch` and everything below it, neither evaluation nor training.
"""
