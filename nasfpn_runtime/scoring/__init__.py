"""COCO's metrics of a detector on a split of a dataset."""
