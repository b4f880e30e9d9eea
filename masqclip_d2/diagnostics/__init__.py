"""Checks of the installation, of required packages and of datasets."""
