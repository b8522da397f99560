"""The tasks of a run, one module each, and what they share."""
