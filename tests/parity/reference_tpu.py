"""Write the variables and outputs of Google's own NAS-FPN detector; a program of its own.

    python reference_tpu.py models/official/detection VARIABLES.tsv OUTPUTS.npz

The first argument is that folder in a checkout of tensorflow/tpu (the files in tests/assets are
from 7dc921f). It needs ``tensorflow``, ``tf_keras`` and ``six``, with TF_USE_LEGACY_KERAS=1.

It wrote ``tests/assets/tf_variable_names.tsv`` (name, shape) and ``tf_tpu.npz``: the outputs of
backbone, pyramid, class tower and box tower for an image of noise from seed 7, (N, C, H, W), at
300 indices each. Weights come from ``weights.py``, by the names of the variables.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from weights import weight

HEIGHT, WIDTH = 256, 384
CLASSES = 91
SAMPLED = 300  # values of each output
EPSILON = 1e-4  # configs/base_config.py


def build(images: Any) -> dict[str, Any]:
    """Return the outputs by name, (N, H, W, C), as retinanet_model.py builds them."""
    from modeling.architecture import heads, nasfpn, nn_ops, resnet

    norm = nn_ops.BatchNormActivation(momentum=0.997, epsilon=EPSILON)
    backbone = resnet.Resnet(50, batch_norm_activation=norm)(images)
    pyramid = nasfpn.Nasfpn(num_repeats=7, batch_norm_activation=norm)(backbone)
    head = heads.RetinanetHead(3, 7, CLASSES, 9, batch_norm_activation=norm)
    classes, boxes = head(pyramid)
    outputs = {f"backbone_c{level}": x for level, x in backbone.items()}
    for name, maps in (("pyramid", pyramid), ("cls", classes), ("box", boxes)):
        outputs |= {f"{name}_p{level}": x for level, x in maps.items()}
    return outputs


def value(name: str, shape: tuple[int, ...]) -> Any:
    """Return the weight of a variable. Kernels are generated as (out, in, height, width)."""
    if len(shape) != 4:
        return weight(name, shape)
    return weight(name, (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)


def main(source: str, variables: Path, outputs: Path) -> None:
    import tensorflow.compat.v1 as tf

    sys.path.insert(0, source)
    tf.disable_eager_execution()
    images = tf.placeholder(tf.float32, (1, HEIGHT, WIDTH, 3))
    fetches = build(images)
    shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    variables.write_text("".join(f"{name}\t{shape}\n" for name, shape in shapes.items()))
    picture = np.random.default_rng(7).standard_normal((1, 3, HEIGHT, WIDTH)).astype(np.float32)
    with tf.Session() as session:
        for variable in tf.global_variables():
            variable.load(value(variable.op.name, shapes[variable.op.name]), session)
        results = session.run(fetches, {images: picture.transpose(0, 2, 3, 1)})
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"height": HEIGHT, "width": WIDTH, "bn_eps": EPSILON}
    for name in sorted(results):
        result = results[name].transpose(0, 3, 1, 2)
        indices = np.sort(rng.choice(result.size, min(SAMPLED, result.size), replace=False))
        arrays |= {
            name: result.ravel()[indices],
            f"{name}_pos": indices,
            f"{name}_shape": result.shape,
        }
    np.savez_compressed(outputs, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
