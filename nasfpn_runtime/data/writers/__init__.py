"""Writers of dataset formats: a module for each, with the same functions.

``PICTURES`` is the folder of the images of a split. ``BY_STEM`` says whether the images of a folder
must differ in more than their suffix, ``UNFIT`` which characters their names cannot have,
``SUFFIXES`` which suffixes they must have, if any, and ``FRAME`` in which frame its boxes are by
convention (``data/frames.py``). ``check(splits)`` raises DataError if the format
cannot hold them; ``write_split(folder, name, split, names)`` writes the annotations of one, where
``names`` are the file names of its images; ``finish(folder, splits)`` writes what all splits share.
"""
