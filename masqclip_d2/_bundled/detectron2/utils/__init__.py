"""Helpers: processes, files, logs, random seeds, memory, registries."""
