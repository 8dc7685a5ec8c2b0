"""The keys of the model zoo's settings, and what becomes of each.

They are those of research/cv/nas-fpn/default_config.yaml of MindSpore models at eab643f. Each key
is in one of the tables below, with its default value, which also sets its type, and with its
equivalent here. ``zoo_config.py`` reads the tables.
"""

from __future__ import annotations

from typing import TypeAlias

from nasfpn_runtime.data.coco_names import NAMES

Table: TypeAlias = dict[str, tuple[object, str]]

RECIPE = "modelzoo-r50-7x256-640"  # the recipe that has the default values

# Copied to a setting of the recipe.
COPIED: Table = {
    "nms_thershold": (0.6, "detection.iou"),
    "min_score": (0.1, "detection.score"),
    "max_boxes": (100, "detection.maximum"),
    "lr": (0.1, "training.lr"),
    "lr_end_rate": (5e-3, "training.lr_end"),
    "momentum": (0.9, "training.momentum"),
    "weight_decay": (1.5e-4, "training.weight_decay"),
    "epoch_size": (300, "training.epochs"),
    "loss_scale": (1024.0, "training.loss_scale"),
    "save_checkpoint_epochs": (1, "training.save_every"),
    "keep_checkpoint_max": (10, "training.keep"),
    "prior_scaling": ([0.1, 0.2], "box_code.variances"),
    "gamma": (2.0, "loss.gamma"),
    "alpha": (0.75, "loss.alpha"),
    "nasfpn_out_channel": (256, "model.channels"),
    "nasfpn_stack_times": (7, "model.stacks"),
}

# Converted to settings of the recipe, some together with other keys: see ``zoo_config.py``.
DERIVED: Table = {
    "img_shape": ([640, 640], "data.image"),
    "match_thershold": (0.5, "matching.positive, matching.negative"),
    "lr_init": (1e-6, "training.warmup"),
    "warmup_epochs1": (2, "training.warmup"),
    "warmup_epochs2": (5, "training.warmup"),
    "warmup_epochs3": (23, "training.warmup"),
    "warmup_epochs4": (60, "training.warmup"),
    "warmup_epochs5": (160, "training.warmup"),
    "aspect_ratios": ([[0.5, 1.0, 2.0]] * 5, "anchors.ratios"),
    "anchor_size": ([32.0, 64.0, 128.0, 256.0, 512.0], "anchors.scale"),
    "coco_classes": (["background", *NAMES.split(", ")], "model.categories"),
    "batch_size": (16, "training.batch"),
}

# Determined by other keys, or without a choice here: another value is an error.
FIXED: Table = {
    "steps": ([8, 16, 32, 64, 128], "strides of levels 3 to 7"),
    "feature_size": ([80, 40, 20, 10, 5], "img_shape divided by steps"),
    "num_default": ([9] * 5, "3 sizes for each ratio"),
    "num_retinanet_boxes": (76725, "the number of anchors"),
    "extras_out_channels": ([256] * 5, "nasfpn_out_channel for each level"),
    "num_classes": (81, "the number of coco_classes"),
    "nasfpn_input_channels": ([512, 1024, 2048], "ResNet-50, the only backbone"),
    "nasfpn_num_outs": (5, "levels 3 to 7"),
    "nasfpn_start_level": (0, "src/nasfpn.py adds it twice"),
    "nasfpn_end_level": (-1, "all levels of the backbone"),
    "global_step": (0, "a run resumes by itself"),
}

# Replaced by an option of a command.
_CREATE = "nasfpn data create SRC -o DIR"
_INIT = "nasfpn import CKPT --source modelzoo, then nasfpn train --init"
MOVED: Table = {
    "enable_modelarts": (False, "nasfpn train --data, --out, --init take obs:// addresses"),
    "data_url": ("", "nasfpn train --data"),
    "train_url": ("", "nasfpn train --out"),
    "checkpoint_url": ("", "nasfpn train --init"),
    "data_path": ("/cache/data", "nasfpn train --cache"),
    "output_path": ("/cache/train", "nasfpn train --cache"),
    "load_path": ("/cache/checkpoint_path", "nasfpn train --cache"),
    "need_modelarts_dataset_unzip": (True, "nasfpn train --data DATA_URL/NAME.zip"),
    "modelarts_dataset_unzip_name": ("MindRecord_COCO", "NAME of the .zip"),
    "device_target": ("Ascend", "nasfpn train --device"),
    "distribute": (True, "nasfpn train --devices"),
    "workers": (24, "nasfpn train --workers"),
    "create_dataset": ("coco", f"{_CREATE} --format"),
    "is_training": (True, f"{_CREATE} --splits"),
    "train_data_type": ("train2017", f"{_CREATE} --splits train"),
    "val_data_type": ("val2017", f"{_CREATE} --splits val"),
    "mindrecord_dir": ("/home/datasets/coco_mindrecord", "nasfpn train --data"),
    "coco_root": ("/home/datasets/COCO2017", f"{_CREATE}: SRC"),
    "image_dir": ("", f"{_CREATE} --format text: SRC/images"),
    "anno_path": ("", f"{_CREATE} --format text: SRC/train.txt"),
    "save_checkpoint_path": ("./ckpt", "nasfpn train --out"),
    "pre_trained": ("", _INIT),
    "filter_weight": (False, "nasfpn train --drop-head"),
    "checkpoint_path": ("", "nasfpn import CKPT --source modelzoo, then nasfpn eval --checkpoint"),
    "dataset_path": ("", "nasfpn eval --data"),
}

# Without an equivalent here.
_UNREAD = "no file of the model zoo reads it"
NOTHING: Table = {
    "enable_profiling": (False, _UNREAD),
    "prefix": ("retinanet.mindrecord", "files are named after their split"),
    "warmup_epochs": (2, _UNREAD),
    "instances_set": ("annotations/instances_{}.json", "annotations are where COCO has them"),
    "save_checkpoint": (True, _UNREAD),
    "finish_epoch": (0, _UNREAD),
    "mode": ("sink", _UNREAD),
    "pre_trained_epoch_size": (0, "the model zoo only checks that it is 0 or more"),
    "dataset": ("coco", "the format of a dataset is recognised"),
    "device_id": (0, "ASCEND_RT_VISIBLE_DEVICES chooses cards"),
    "file_format": ("MINDIR", "an option of export.py"),
    "export_batch_size": (1, "an option of export.py"),
    "file_name": ("retinanet_nasfpn", "an option of export.py"),
    "result_path": ("", "an option of postprocess.py"),
}
