"""Training and evaluation runs: trainer, optimizer, hooks, stages."""
