"""Pixels and boxes: reading, scaling, augmenting, and box arithmetic. No MindSpore."""
