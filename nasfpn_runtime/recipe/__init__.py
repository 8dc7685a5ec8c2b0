"""Recipes: everything a training run depends on besides genome, data set and seed."""
