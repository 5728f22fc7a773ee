"""What is checked, and why: one rule per id, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = ["RULES", "Rule"]

_FAIL, _REFUSED = Verdict.FAIL, Verdict.REFUSED


@dataclass(frozen=True)
class Rule:
    """One rule of the platform, or of ours.

    Attributes:
        id: short name, the same in the table, in JSON and in docs/check.md.
        expected: what must be found.
        reason: where that is written.
        broken: what breaking it means: the platform refuses the image or its result, or it is a fault all the same.
    """

    id: str
    expected: str
    reason: str
    broken: Verdict = _FAIL


_ALL = (
    Rule("archive.readable", "a whole .tar, .tar.gz or .tar.xz of docker save", "CONTRACT 2.1: file", _REFUSED),
    Rule("archive.manifest", "manifest.json and the config that it names", "CONTRACT 2.1: file", _REFUSED),
    Rule("archive.one-image", "exactly one image", "CONTRACT 2.1: file", _REFUSED),
    Rule("image.user", "a USER that is not root, of a plain name or number", "CONTRACT 2.1: USER", _REFUSED),
    Rule("image.passwd", "a USER name that /etc/passwd knows", "CONTRACT 2.1: USER", _REFUSED),
    Rule("image.architecture", "amd64", "CONTRACT 2.1: architecture", _REFUSED),
    Rule(
        "image.api-method", "label org.grand-challenge.api-method exec, invoke or none", "CONTRACT 2.1: label", _REFUSED
    ),
    Rule("image.command", "an ENTRYPOINT or a CMD", "CONTRACT 2.2: ENTRYPOINT and CMD are started"),
    Rule("image.environment", "no variable named GRAND_CHALLENGE_*", "CONTRACT 1.6: they are removed"),
    Rule("image.size", "below 10 GB, compressed where a tarball is given", "CONTRACT 2.1: size"),
    Rule(
        "image.volumes", "no VOLUME: writes below one are not seen by this check", "CONTRACT 2.2: only /output and /tmp"
    ),
    Rule("run.platform", "a plain case runs as the platform runs it", "CONTRACT 2.2: how the platform starts it"),
    Rule("run.strict", "the same with a read-only root, a random uid and 128 MB /dev/shm", "CONTRACT 2.2, 1.8, 6.A.6"),
    Rule("run.writes", "nothing written outside /output and /tmp", "CONTRACT 2.2: root filesystem"),
    Rule("run.log-lines", "no stderr line above 64 KiB", "CONTRACT 2.2: longer lines are dropped"),
    Rule("case.no-inputs-json", "runs without inputs.json", "CONTRACT 2.3: the template has none"),
    Rule("case.interface-only", "reads inputs.json with the key interface only", "CONTRACT 2.3: interface, socket"),
    Rule("case.socket-only", "reads inputs.json with the key socket only", "CONTRACT 2.3: interface, socket"),
    Rule("case.nii-gz", "reads .nii.gz named by case id", "CONTRACT 1.3: local files"),
    Rule("case.odd-shape", "67 x 53 x 9 voxels", "CONTRACT 1.5: grid of the input"),
    Rule("case.thick-slices", "slices of 5 mm", "CONTRACT 1.5: grid of the input"),
    Rule("case.oblique", "an oblique direction and a negative origin", "CONTRACT 1.5: geometry"),
    Rule("case.corner-mask", "a mask that reaches a corner of the volume", "CONTRACT 1.5: outside the mask"),
    Rule("case.mask-255", "a mask of 0 and 255", "CONTRACT 6.A.3: mask"),
    Rule("case.float-mask", "a mask of floating-point type", "CONTRACT 6.A.3: mask"),
    Rule("case.unknown-region", "runs with region.json 'Left Foot'", "CONTRACT 1.2: never crash"),
    Rule("case.no-region-file", "runs without region.json", "CONTRACT 1.2: never crash"),
    Rule("case.empty-region-file", "runs with an empty region.json", "CONTRACT 1.2: never crash"),
    Rule("case.largest", "512 x 512 x 200 voxels within the limits", "CONTRACT 1.9: time, 2.2: memory"),
    Rule("output.one-image", "exactly one image below images/synthetic-ct", "CONTRACT 1.3: output", _REFUSED),
    Rule("output.format", "an image in .mha or .tif", "CONTRACT 1.3: NIfTI is rejected", _REFUSED),
    Rule("output.decodable", "an image that can be decoded", "CONTRACT 1.3: output", _REFUSED),
    Rule("output.size", "voxels as the input's", "CONTRACT 1.5: the evaluator asserts equal shape", _REFUSED),
    Rule("output.geometry", "spacing, origin and direction as the input's", "CONTRACT 1.5: geometry"),
    Rule("output.type", "int16", "CONTRACT 1.5: MET_SHORT"),
    Rule("output.range", "values from -1024 to 3071", "CONTRACT 1.5: range"),
    Rule("output.finite", "finite values", "CONTRACT 1.5: finite"),
    Rule("output.outside-mask", "-1000 or -1024 outside the mask", "CONTRACT 1.5: outside the body mask"),
    Rule("output.content", "more than one value inside the mask", "CONTRACT 1.5: HU"),
    Rule("output.readable", "files that others may read", "CONTRACT 2.2: outputs are uploaded"),
    Rule("output.links", "no link to a folder or out of /output", "CONTRACT 2.2: outputs", _REFUSED),
    Rule("failure.empty-input", "no exit 0, one clear last line, no image", "CONTRACT 2.2: last stderr line, 6.A.7"),
    Rule("failure.corrupt-image", "no exit 0, one clear last line, no image", "CONTRACT 2.2: last stderr line, 6.A.7"),
    Rule("invoke.health", "GET /health 200 within 300 s, no redirect", "CONTRACT 2.2: invoke mode"),
    Rule(
        "invoke.survives",
        "the call after a failed one succeeds, and no server ends by itself",
        "CONTRACT 2.2: repeats, 6.A.10",
    ),
    Rule("invoke.stop", "SIGTERM ends the server within 5 s", "CONTRACT 2.2: stop"),
    Rule("metrics.file", "/output/metrics.json, an object of strict JSON", "CONTRACT 2.6: NaN becomes null"),
    Rule("metrics.keys", "keys without a dot", "CONTRACT 2.6: leaderboard path"),
    Rule("metrics.numbers", "numbers at aggregates.*.mean, where there are any", "CONTRACT 2.6: else rank 0"),
    Rule("evaluation.flat", "a flat folder of sCTs is scored too", "CONTRACT 2.5: prediction phase"),
    Rule("evaluation.order", "the order of predictions.json changes nothing", "CONTRACT 2.5: order not defined"),
    Rule("evaluation.missing", "a missing prediction does not pass in silence", "CONTRACT 3.6, our rule"),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule by its id, in the order of the table."""
