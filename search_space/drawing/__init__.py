"""Pictures of genomes: one, two with their difference, or a gallery.

- ``pictures.py``: ``draw_genome``, ``draw_difference``, ``draw_gallery``, and the page that
  they make. Open this first.
- ``layout.py``: where nodes and edges lie. Rows are levels, columns are cells.
- ``routing.py``: curves for the edges that keep clear of all other nodes.
- ``difference.py``: which nodes and edges of two genomes correspond.
- ``marks.py``: draws nodes, edges and texts with matplotlib; colours and line styles.
- ``legend.py``: the legend, with only what occurs in the picture.

``layout``, ``routing`` and ``difference`` do not need matplotlib.
"""
