"""Export a trained detector as one file for other runtimes.

- ``exporter.py``: writes a checkpoint in a format, runs the file, and compares.
- ``compare.py``: the largest differences between a file and its checkpoint.
- ``fold.py``: takes batch norm and unused outputs out of a network.
- ``deployed.py``, ``mindir.py``: MINDIR and AIR, which MindSpore itself exports.
- ``onnx_file.py``: ONNX, from a graph (``onnx_graph.py``) that has the network
  (``modules.py``), the decoding of boxes (``onnx_boxes.py``) and, on request, suppression
  (``onnx_suppression.py``).

ONNX is written here because MindSpore 2.10's exporter cannot clip the sides of boxes, requires a
fixed batch, writes opset 11 with numbers for names, and has no suppression.
"""
