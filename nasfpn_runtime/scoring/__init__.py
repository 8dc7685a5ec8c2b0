"""COCO scores of a detector on a split."""
