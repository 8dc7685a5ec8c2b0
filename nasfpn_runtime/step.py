"""One training step as a single graph."""

from __future__ import annotations

from collections.abc import Callable

import mindspore
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from nasfpn_runtime.cells.detector import Detector
from nasfpn_runtime.config import Training
from nasfpn_runtime.losses import DetectionLoss

# Which parameters weight decay pulls towards 0.
DECAYS: dict[str, Callable[[Parameter], bool]] = {
    "kernels": lambda parameter: len(parameter.shape) == 4,
    "no_norm": lambda parameter: not parameter.name.endswith(("gamma", "beta")),
    "all": lambda parameter: True,
}


class DetectorWithLoss(nn.Cell):
    """A batch to its loss; see ``DetectionLoss`` for labels and targets."""

    def __init__(self, detector: Detector, loss: DetectionLoss) -> None:
        super().__init__(auto_prefix=False)
        self.detector, self.loss = detector, loss

    def construct(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        logits, deltas = self.detector(images)
        return self.loss(logits, deltas, labels, targets)


class TrainStep(nn.Cell):
    """A batch to its loss, updating the weights by SGD with momentum.

    A Cell and not a ``mindspore.jit`` function: on CPU the main thread of the latter polls
    while it waits and takes a core from the work (``nasfpn bench step`` measures both).
    """

    def __init__(self, network: DetectorWithLoss, training: Training, rates: list[float]) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.network.set_grad()
        decays = DECAYS[training.decay]
        groups = [
            {"params": [p for p in network.trainable_params() if decays(p) == decayed]}
            | {"weight_decay": training.weight_decay if decayed else 0.0}
            for decayed in (True, False)
        ]
        self.optimizer = nn.Momentum(
            [group for group in groups if group["params"]],
            learning_rate=rates,
            momentum=training.momentum,
        )
        self.weights = ParameterTuple(self.optimizer.parameters)
        self.gradient = ops.GradOperation(get_by_list=True, sens_param=True)
        self.clip = training.clip

    def construct(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        loss = self.network(images, labels, targets)
        one = ops.ones_like(loss)
        gradients = self.gradient(self.network, self.weights)(images, labels, targets, one)
        if self.clip is not None:
            gradients = ops.clip_by_global_norm(gradients, self.clip)
        return ops.depend(loss, self.optimizer(gradients))


def as_tensor(array: object) -> Tensor:
    """Return a numpy array as a tensor, float32 or int32 as it is."""
    return mindspore.Tensor.from_numpy(array)
