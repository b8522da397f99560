"""Tools: plain Python functions that a model may call."""
