"""Sub-commands that algorithms bring: info, predict, train, run."""
