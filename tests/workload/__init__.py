"""A real workload: multi-turn tool-use dialogs of the Berkeley Function Calling Leaderboard."""
