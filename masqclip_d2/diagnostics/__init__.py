"""Checks of the installation, of required packages and of datasets.

May import `shapes`, the predictor and everything below them, neither `batch` nor the command line.
"""
