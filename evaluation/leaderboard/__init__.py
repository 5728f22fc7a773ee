"""Ranking entries by their metrics.json (CONTRACT 3.9): direction declared per metric, ties share a rank."""

from __future__ import annotations

from evaluation.leaderboard.entries import Entry, read_entries
from evaluation.leaderboard.metrics import GROUPS, HIGHER_IS_BETTER, METRICS, Metric
from evaluation.leaderboard.placing import rank_entries

__all__ = ["GROUPS", "HIGHER_IS_BETTER", "METRICS", "Entry", "Metric", "rank_entries", "read_entries"]
