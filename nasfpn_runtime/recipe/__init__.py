"""Recipes: everything a training run depends on besides its genome, dataset and seed."""
