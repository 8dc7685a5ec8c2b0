"""``nasfpn predict``: detect objects in files of any kind, draw them, write COCO results.

From the input to the output:

- ``inputs.py``: names, folders and patterns on the command line -> files.
- ``frames.py``, ``video.py``: a file -> its frames: an image, an animation or a video.
- ``naming.py``: a unique name and id for every frame.
- ``loop.py``: reads frames, detects in batches, hands the detections to the outputs.
- ``results.py``: the outputs: a folder of images, COCO's list of results.
- ``draw.py``: boxes, names and scores on an image.
"""
