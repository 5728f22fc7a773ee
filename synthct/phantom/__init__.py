"""Embedded phantoms: paired MR or cone-beam CT, CT, mask and segmentation, made from a seed.

They show the code, they test it and they need no download. They are drawings, not patients: a number measured on them
says nothing about clinical quality.
"""

from __future__ import annotations

from synthct.phantom.case import PHANTOM_KINDS, PhantomCase, PhantomKind, PhantomTask, make_phantom

__all__ = ["PHANTOM_KINDS", "PhantomCase", "PhantomKind", "PhantomTask", "make_phantom"]
