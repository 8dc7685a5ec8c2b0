"""Pictures and boxes: COCO folders, augmentation, a drawn data set."""
