"""Recipes: everything a training run depends on besides its genome, data set and seed."""
