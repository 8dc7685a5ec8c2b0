"""A trained detector as one file for other runtimes.

``fold.py`` takes batch norm out of the network. MINDIR and AIR are MindSpore's own export of
what is left (``deployed.py``). ONNX is written here, module by module (``modules.py``):
MindSpore 2.10's exporter has no clipping of sides, refuses a batch that is not fixed, writes
opset 11 with numbers for names, and knows no suppression.
"""
