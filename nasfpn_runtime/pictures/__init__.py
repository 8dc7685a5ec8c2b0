"""Pixels and boxes: reading, scaling and augmenting images, and box arithmetic."""
