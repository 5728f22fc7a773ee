"""The marks of an entry in plain words, for the top of a page."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MEANINGS", "warnings_about"]

MEANINGS = {
    "starter": (
        "Starter weights.",
        "This model was trained on a few cases so that the program can be tried out. Its images must not be used to "
        "plan or to judge a treatment.",
    ),
    "simulated data": (
        "Simulated data.",
        "These images were made by a program, not by a scanner. Numbers on them say little about patients.",
    ),
    "random features": (
        "Random feature extractor.",
        "A loss of this model's training compared features of a network with random weights: the paper's method is not "
        "what was trained.",
    ),
    "demonstration only": (
        "Demonstration only.",
        "The model's own card says that it does not beat the yardstick: it shows how the method runs, no more.",
    ),
    "weights unknown": (
        "Weights unknown.",
        "Nothing that came with these predictions tells which model made them.",
    ),
}
"""What each mark means: a title and a sentence or two."""


def warnings_about(
    marks: Sequence[str], *, has_ct: bool = True, registration: str = "", other_scores: bool = False
) -> list[dict[str, str]]:
    """What a reader of a case has to know first, the gravest first.

    Args:
        marks: of the entry; one that is not in MEANINGS has no sentence.
        has_ct: the case has a CT.
        registration: of the CT onto the image, in words; empty for nothing to say.
        other_scores: the scores that are shown were not made of the images that are shown.
    """
    found = []
    if other_scores:
        found.append(
            {
                "title": "Scores of other images.",
                "text": "The metrics.json of this page was made of other predictions, or with another CT or mask, than "
                "the images shown here. Do not read one by the other.",
            }
        )
    if not has_ct:
        found.append(
            {
                "title": "There is no CT of this case.",
                "text": "Nothing here shows how near this sCT is to the patient. A picture that looks right can be "
                "wrong by hundreds of HU. Do not use it for dose without a check of your own.",
            }
        )
    found += [
        {"title": title, "text": text} for mark in marks for title, text in [MEANINGS.get(mark, ("", ""))] if title
    ]
    if has_ct and registration == "unknown":
        found.append(
            {
                "title": "Registration unknown.",
                "text": "Nobody says how the CT was registered onto the image. Part of the difference may be the "
                "patient's other posture, not the sCT's error.",
            }
        )
    return found
