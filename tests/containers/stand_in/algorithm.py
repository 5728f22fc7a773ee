"""A whole algorithm in the standard library: HU = gray value - 900, clipped, inside the mask. It reads .mha only.

FAULT names one thing that it does wrong.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

Fields = dict[str, str]
Values = tuple[float, ...]
INPUT, OUTPUT = Path("/input"), Path("/output")
CODES = {"MET_SHORT": "h", "MET_UCHAR": "B", "MET_FLOAT": "f", "MET_USHORT": "H"}
NIFTI_CODES = {2: "B", 4: "h", 16: "f", 512: "H"}
FAULT = os.environ.get("FAULT", "")


def read_mha(path: Path) -> tuple[Fields, Values]:
    content = path.read_bytes()
    head = re.match(rb".*?ElementDataFile = LOCAL\n", content, re.DOTALL)
    if head is None:
        raise ValueError(f"{path.name} has no header of a .mha")
    fields = dict(re.findall(r"(\w+) = (.*)\n", head.group().decode()))
    payload = content[head.end() :]
    if fields.get("CompressedData") == "True":
        payload = zlib.decompress(payload)
    size = [int(word) for word in fields["DimSize"].split()]
    code = CODES[fields["ElementType"]]
    count = size[0] * size[1] * size[2]
    return fields, struct.unpack(f"<{count}{code}", payload)


def read_nifti(path: Path) -> tuple[Fields, Values]:
    content = gzip.decompress(path.read_bytes())
    size = struct.unpack_from("<3h", content, 42)
    code = NIFTI_CODES[struct.unpack_from("<h", content, 70)[0]]
    offset = int(struct.unpack_from("<f", content, 108)[0])
    rows = [struct.unpack_from("<4f", content, 280 + 16 * row) for row in range(3)]
    spacing = [sum(row[column] ** 2 for row in rows) ** 0.5 for column in range(3)]
    signs = (-1, -1, 1)  # RAS to LPS
    matrix = [signs[row] * rows[row][column] / spacing[column] for column in range(3) for row in range(3)]
    fields = {
        "TransformMatrix": " ".join(map(str, matrix)),
        "Offset": " ".join(str(signs[row] * rows[row][3]) for row in range(3)),
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, size)),
    }
    return fields, struct.unpack_from(f"<{size[0] * size[1] * size[2]}{code}", content, offset)


def read(folder: Path) -> tuple[Path, Fields, Values]:
    (path,) = folder.iterdir()
    fields, values = read_nifti(path) if path.name.endswith(".gz") else read_mha(path)
    return path, fields, values


def write_mha(path: Path, fields: Fields, values: Sequence[float], code: str = "h", kind: str = "MET_SHORT") -> None:
    head = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": fields["TransformMatrix"],
        "Offset": fields["Offset"],
        "ElementSpacing": fields["ElementSpacing"],
        "DimSize": fields["DimSize"],
        "ElementType": kind,
        "ElementDataFile": "LOCAL",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key} = {value}\n" for key, value in head.items())
    path.write_bytes(text.encode() + struct.pack(f"<{len(values)}{code}", *values))


def run() -> None:
    folder = next((INPUT / "images" / name for name in ("mri", "cbct") if (INPUT / "images" / name).is_dir()), None)
    if folder is None:
        raise ValueError("/input/images holds neither mri nor cbct")
    if FAULT == "needs-inputs-json":
        json.loads((INPUT / "inputs.json").read_text())
    path, fields, image = read(folder)
    _, _, mask = read(INPUT / "images" / "body")
    outside = 0 if FAULT == "bright-outside" else -1000
    hu = [
        max(-1024, min(3071, int(gray) - 900)) if inside else outside for gray, inside in zip(image, mask, strict=True)
    ]
    place = OUTPUT / "images" / "synthetic-ct" / f"{path.name.partition('.')[0]}.mha"
    if FAULT == "float":
        write_mha(place, fields, hu, "d", "MET_DOUBLE")
    elif FAULT == "constant":
        write_mha(place, fields, [-1000] * len(hu))
    elif FAULT == "wrong-size":
        x, y, z = (int(word) for word in fields["DimSize"].split())
        write_mha(place, {**fields, "DimSize": f"{x} {y} {z - 1}"}, hu[: x * y * (z - 1)])
    elif FAULT == "named-like-input" and path.name.endswith(".gz"):
        place.parent.mkdir(parents=True)
        (place.parent / path.name).write_bytes(b"no image")
    elif FAULT != "no-output":
        write_mha(place, fields, hu)
    if FAULT == "link":
        (OUTPUT / "all").symlink_to("/output/images")
    if FAULT == "hard-link":
        place.rename(OUTPUT / "whole.mha")
        place.hardlink_to(OUTPUT / "whole.mha")
    if FAULT == "odd-name":
        Path(os.fsdecode(os.fsencode(OUTPUT) + b"/caf\xe9.txt")).touch(mode=0o600)
    if FAULT == "private":
        place.chmod(0o600)
    if FAULT == "long-line":
        sys.stderr.write("x" * 70_000 + "\n")


def main() -> None:
    try:
        run()
    except Exception as error:  # noqa: BLE001  # whatever it is, one line says so
        if FAULT == "swallows":
            sys.exit(0)
        if FAULT == "mute":
            sys.exit(1)
        sys.stderr.write(f"cannot translate: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
