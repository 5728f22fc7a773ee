"""The wall of the trunk: muscle around the cavity, and the muscles along the spine."""

from __future__ import annotations

from synthct.phantom.combine import Inset, Intersection, Rough
from synthct.phantom.scene import Scene
from synthct.phantom.shapes import Column, Shape
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["add_back_muscles", "add_wall", "tube_of_bowel"]


def add_wall(scene: Scene, muscle: Shape, cavity: Shape) -> None:
    """Add the muscular wall and the fat that fills the cavity."""
    scene.add(muscle, Tissue.MUSCLE)
    scene.add(Inset(cavity, -1.2), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
    scene.add(cavity, Tissue.VISCERAL_FAT)


def add_back_muscles(scene: Scene, *, y: float, width: float, depth: float) -> None:
    """Add the muscles beside the spinous processes, wrapped in a film of fat."""
    for side, label in ((1.0, Structure.AUTOCHTHON_LEFT), (-1.0, Structure.AUTOCHTHON_RIGHT)):
        centre = [(side * (width + 3.0), y)]
        scene.add(Rough(Column([0.0], centre, [(width + 1.5, depth + 1.5)], power=2.5), relief=1.5), Tissue.SEPTUM)
        muscle = Column([0.0], centre, [(width, depth)], power=2.5)
        scene.add(Rough(muscle, relief=1.5), Tissue.MUSCLE, label)


def tube_of_bowel(scene: Scene, shape: Shape, label: int, *, gas: Shape | None = None) -> None:
    """Add a piece of bowel: wall, contents, and gas where `gas` says."""
    folded = Rough(shape, relief=1.5, folds=2.2)
    scene.add_hollow(folded, 2.5, Tissue.CONTENTS, label)
    if gas is not None:
        scene.add(Intersection([Inset(folded, 2.5), gas]), Tissue.AIR, label)
