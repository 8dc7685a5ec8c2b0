"""Parameters, multiply-adds and activation memory of a whole detector, without building it.

- ``cost.py``: ``detector_cost``, the sums and the peak over all steps. Open this first.
- ``detector.py``: the detector as a sequence of steps: laterals, pyramids, heads.
- ``backbones.py``: the steps of the backbones, ResNet and MobileNetV2.
- ``steps.py``: what a step is, and how one is added.

The sizes that the cost depends on are in ``search_space/shape.py``.
"""
