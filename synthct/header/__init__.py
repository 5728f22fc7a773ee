"""Checks an image file before any decoder touches it.

ITK's readers trust the header: its MetaIO reader has memory-safety defects that a text header of 93 bytes reaches
(InsightSoftwareConsortium/ITK#6853), and it allocates what a header announces before it looks at the file's size.
So every header is parsed here first, strictly, and every payload is measured in bounded pieces.

    read_header   the header alone, under a millisecond; enough to compare grids (require_size)
    check_file    the header, and that the payload is whole and holds exactly what the header announces
"""

from synthct.header.model import DEFAULT_VOXEL_LIMIT, Header, require_size
from synthct.header.reading import SUFFIXES, check_file, decoder_name, read_header

__all__ = [
    "DEFAULT_VOXEL_LIMIT",
    "SUFFIXES",
    "Header",
    "check_file",
    "decoder_name",
    "read_header",
    "require_size",
]
