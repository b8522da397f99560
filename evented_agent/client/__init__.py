"""What a caller does: start runs, follow them, decide, list, delete."""
