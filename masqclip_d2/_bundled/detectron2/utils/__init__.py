"""Utilities: processes, files, logging, random seeds, memory, registries, visualization."""
