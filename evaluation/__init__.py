"""The evaluation: image and structure metrics of sCT volumes, from one case to the leaderboard."""
