"""Runs of another service, over its HTTP API."""
