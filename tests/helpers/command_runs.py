"""A run of every command, with all that it needs, to try what must hold for each of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.recipe.recipe import load_recipe
from runs import SMALL
from search_space import save_genome
from small_networks import GENOME

COMMAND = (sys.executable, "-m", "tools")
_SETTINGS = [part for setting in SMALL for part in ("--set", setting)]
_PROXY = [part for setting in SMALL for part in ("--proxy-set", setting)]

# Command -> arguments of a run that takes some seconds or more. {} is a folder of write_inputs.
LONG = {
    "quickstart": "quickstart -o {}/out",
    "data": "data synth {}/out --train 3000",
    "recipes": "recipes shapes",
    "train": "train --arch nasfpn --data {}/shapes --recipe shapes -o {}/out",
    "eval": "eval --checkpoint {}/a.ckpt --data {}/shapes",
    "search": "search --data {}/shapes --recipe shapes-proxy --controller random -o {}/out",
    "compare": "compare --data {}/shapes --controllers random --proxy shapes-proxy -o {}/out",
    "fidelity": "fidelity --data {}/shapes --recipe shapes --rung a=shapes-warm+warm -o {}/out",
    "archs": "archs",
    "draw": "draw --all -o {}/out.svg",
    "export": "export {}/a.ckpt --format mindir -o {}/out/a.mindir",
    "predict": "predict {}/a.ckpt {}/shapes/train2017 -o {}/out",
    "import": "import {}/a.npz --source mmdet -o {}/out/a.ckpt",
    "import-config": "import-config {}/zoo.yaml -o {}/out.yaml",
    "bench": "bench step",
}

# Command -> arguments of runs that end before MindSpore is needed, and their exit code.
SHORT = {
    "quickstart": ("quickstart --trials 0 -o {}/out", 2),
    "data": ("data check {}/faulty", 1),
    "recipes": ("recipes shapes", 0),
    "train": ("train --arch nasfpm --data {}/shapes", 2),
    "eval": ("eval --checkpoint {}/none.ckpt --data {}/shapes --protocol none", 2),
    "search": ("search --data {}/shapes --recipe none -o {}/out", 2),
    "compare": ("compare --data {}/shapes --controllers --archs -o {}/out", 2),
    "fidelity": ("fidelity --data {}/shapes --recipe none -o {}/out", 2),
    "archs": ("archs", 0),
    "draw": ("draw {}/é.json -o {}/ü.svg --overwrite", 0),
    "export": ("export {}/a.ckpt --format none", 2),
    "predict": ("predict {}/a.ckpt {}/shapes/train2017 --score 2", 2),
    "import": ("import {}/a.npz --source none -o {}/out/a.ckpt", 2),
    "import-config": ("import-config {}/zoo.yaml -o {}/r.yaml --overwrite", 0),
    "bench": ("bench genome --rounds 0", 2),
}


def arguments(template: str, folder: Path) -> list[str]:
    """Return the arguments of a run on the inputs in a folder."""
    return [part.replace("{}", str(folder)) for part in template.split()]


def long_run(name: str, folder: Path) -> list[str]:
    """Return the command line of a long run, with small networks where the command has recipes."""
    extra = {name: _SETTINGS for name in ("train", "search", "fidelity")}
    extra["compare"] = [*_PROXY, *_SETTINGS]
    return [*COMMAND, *arguments(LONG[name], folder), *extra.get(name, ())]


def write_inputs(folder: Path, *, checkpoint: bool = True) -> None:
    """Write what the runs read."""
    write_shapes(folder / "shapes", train=8, val=2, test=2, size=64)
    for path in (folder / "shapes" / "annotations").iterdir():  # the checkpoint's categories
        content = json.loads(path.read_text())
        for number, category in enumerate(content["categories"]):
            category["name"] = f"class{number}"
        path.write_text(json.dumps(content))
    faulty = folder / "faulty"
    for split in ("train2017", "val2017"):
        (faulty / split).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(faulty / split / "é.png")
        image = {"id": 1, "file_name": "é.png", "width": 8, "height": 8}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16}
        flat = {**box, "id": 2, "bbox": [0, 0, 0, 9]}
        names = [{"id": 1, "name": "Äpfel"}]
        content = {"images": [image], "annotations": [box, flat], "categories": names}
        annotations = faulty / "annotations" / f"instances_{split}.json"
        annotations.parent.mkdir(exist_ok=True)
        annotations.write_text(json.dumps(content))
    save_genome(GENOME, folder / "é.json")
    np.savez(folder / "a.npz", x=np.zeros(1, np.float32))
    (folder / "zoo.yaml").write_text("num_classes: 81\nlr: 0.05\n")
    if checkpoint:
        from nasfpn_runtime.bench.parity import write_random  # imports MindSpore

        recipe = load_recipe("shapes-proxy", [*SMALL, "model.head_convs=1"])
        write_random(folder / "a.ckpt", recipe, GENOME)
