"""A chat with users of its own: the HTTP API mounted in FastAPI, and a page that uses it."""
