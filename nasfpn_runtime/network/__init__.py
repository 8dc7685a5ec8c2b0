"""The detector as MindSpore cells, its losses, its initial weights and its checkpoints."""
