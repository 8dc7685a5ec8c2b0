"""``nasfpn archs``: the shipped genomes."""

from __future__ import annotations

import argparse

HELP = "list the shipped genomes with source, parameters, MACs and published AP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(args: argparse.Namespace) -> int:
    """Print the table; sizes are those of RetinaNet R-50, 7 stacks of 256, 640 px, 91 classes."""
    import searched_archs
    from search_space import DetectorShape, detector_cost

    print(f"{'name':16} {'cells':>5} {'params':>8} {'MACs':>8} {'AP':>5}  source")
    for name in searched_archs.names():
        genome, info = searched_archs.load(name), searched_archs.info(name)
        cost = detector_cost(genome, DetectorShape())
        ap = "-" if info.published_ap is None else f"{info.published_ap:.1f}"
        print(
            f"{name:16} {len(genome.cells):5d} {cost.parameters / 1e6:6.1f} M "
            f"{cost.macs / 1e9:6.1f} G {ap:>5}  {info.source}"
        )
    print(
        "\nParameters and multiply-adds of a RetinaNet with ResNet-50, 7 stacks of 256 channels,\n"
        "640x640, 91 classes. AP as published by the source; searched_archs/README.md says on what."
    )
    return 0
