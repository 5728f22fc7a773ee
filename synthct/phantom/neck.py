"""Below the skull: throat, vessels, thyroid and the cervical spine."""

from __future__ import annotations

from synthct.phantom.combine import Inset, Rough, Union, tube
from synthct.phantom.scene import Scene, Variation
from synthct.phantom.shapes import Ellipsoid, HalfSpace, Point
from synthct.phantom.skeleton import add_spine, spine
from synthct.phantom.structures import Structure
from synthct.phantom.tissues import Tissue

__all__ = ["add_neck", "add_neck_spine"]


def add_neck(scene: Scene, vary: Variation) -> None:
    """Add the airway from the back of the nose to the trachea, the oesophagus, the thyroid and the great vessels."""
    path: list[Point] = [(0.0, -22.0, -28.0), (0.0, -14.0, -46.0), (0.0, -12.0, -70.0), (0.0, -17.0, -94.0)]
    pharynx = tube(path, [vary.size(11.0, 0.15), vary.size(9.0, 0.2), vary.size(8.0, 0.2), 8.0])
    scene.add(Inset(pharynx, -3.0), Tissue.MUSCLE)
    scene.add(Rough(pharynx, relief=1.5), Tissue.AIR)
    lobes = Union([Ellipsoid((side * 19.0, -10.0, -128.0), vary.sizes((9.0, 11.0, 20.0))) for side in (1.0, -1.0)])
    isthmus = Ellipsoid((0.0, -27.0, -128.0), (16.0, 4.5, 9.0))
    scene.add(Rough(Union([lobes, isthmus]), relief=1.0), Tissue.ORGAN, Structure.THYROID)
    windpipe: list[Point] = [(0.0, -17.0, -94.0), (0.0, -14.0, -115.0), (0.0, -8.0, -190.0)]
    scene.add(tube(windpipe, [12.0, 11.5, 11.5]), Tissue.CARTILAGE)
    scene.add(tube(windpipe, [8.0, 9.0, 9.0]), Tissue.AIR, Structure.TRACHEA)
    gullet = tube([(0.0, 2.0, -104.0), (4.0, 6.0, -190.0)], 5.5)
    scene.add(gullet, Tissue.BOWEL, Structure.OESOPHAGUS)
    for side in (1.0, -1.0):
        artery: list[Point] = [(side * 30.0, 2.0, -32.0), (side * 27.0, -4.0, -75.0), (side * 24.0, 0.0, -190.0)]
        sleeve: list[Point] = [(x + side * 4.0, y + 2.0, z) for x, y, z in artery]
        scene.add(tube(sleeve, 10.0), Tissue.SEPTUM, over=(Tissue.MUSCLE,))
        scene.add(tube(artery, 3.5), Tissue.BLOOD)
        scene.add(tube([(x + side * 9.0, y + 4.0, z) for x, y, z in artery], vary.size(5.0, 0.2)), Tissue.BLOOD)
        gland = Rough(Ellipsoid((side * 56.0, 4.0, -46.0), (11.0, 17.0, 21.0)), relief=2.0, folds=1.5)
        scene.add(gland, Tissue.PANCREAS, over=(Tissue.MUSCLE, Tissue.FAT, Tissue.SEPTUM))
    hyoid = tube([(-16.0, -22.0, -88.0), (-9.0, -38.0, -92.0), (9.0, -38.0, -92.0), (16.0, -22.0, -88.0)], 2.8)
    scene.add(hyoid, Tissue.COMPACT)
    nape = HalfSpace((0.0, 74.0, -60.0), (0.0, 1.0, 0.25))
    scene.add(Rough(nape, relief=3.0), Tissue.FAT, over=(Tissue.MUSCLE, Tissue.SEPTUM))


def add_neck_spine(scene: Scene) -> None:
    """Add C1 to T2 under the skull; the cord runs up to the foramen magnum."""
    names = ["T2", "T1", "C7", "C6", "C5", "C4", "C3", "C2", "C1"]
    curve = [(-190.0, 30.0), (-140.0, 20.0), (-100.0, 15.0), (-55.0, 18.0)]
    add_spine(scene, spine(names, middle=("C1", -55.0), curve=curve), roof=-50.0)
