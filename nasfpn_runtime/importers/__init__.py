"""Checkpoints and settings of other implementations, read as ours.

A *source* is an implementation whose checkpoints are read: mmdetection, the model zoo, TF,
torchvision, mindcv. Each spells the names of its parameters in its own way.

- ``readers.py``, ``safetensors.py``: a file of any framework -> arrays by name.
- ``parameters.py``: one of our parameter names -> its path, taken apart into fields.
- ``spellings.py``: the table of sources; a path -> the names it has in a source.
- ``load.py``: arrays by a source's names -> the parameters of a network.
- ``convert.py``: all of these in turn; a checkpoint of ours comes out.
- ``zoo_keys.py``, ``zoo_config.py``: the model zoo's settings -> a recipe.
"""
