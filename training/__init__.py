"""Recipes, losses, the training loop, metrics and checkpoints."""
