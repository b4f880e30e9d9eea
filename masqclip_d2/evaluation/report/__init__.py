"""Reports: results table, published rows, saved predictions and their evaluation."""
