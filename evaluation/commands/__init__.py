"""Sub-commands that the evaluation brings: evaluate, leaderboard, slices."""
