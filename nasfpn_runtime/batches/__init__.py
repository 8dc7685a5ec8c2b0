"""From a split and a recipe to the tensors of a training step."""
