"""The network as MindSpore cells, its losses, initial weights and checkpoints."""
