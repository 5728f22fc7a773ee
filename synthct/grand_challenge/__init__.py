"""The Grand Challenge platform, one file each: what a run is given and what it must leave, and what a submission is."""

from synthct.grand_challenge.flat import find_flat_predictions
from synthct.grand_challenge.submission import (
    JOBS_NAME,
    FinishedJob,
    Problem,
    SubmittedJob,
    read_predictions_json,
    write_predictions_json,
)

__all__ = [
    "JOBS_NAME",
    "FinishedJob",
    "Problem",
    "SubmittedJob",
    "find_flat_predictions",
    "read_predictions_json",
    "write_predictions_json",
]
