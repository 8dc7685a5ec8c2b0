"""Pictures and boxes: data sets of several forms, augmentation, a drawn one."""
