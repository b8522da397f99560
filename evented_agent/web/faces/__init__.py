"""Runs in the protocols of clients that exist: each a pure translation of the log of a run."""
