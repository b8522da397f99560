"""The Django app: orders, each with an agent that writes to its customer."""
