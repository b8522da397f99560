"""The native routes: a handler each, driven from a thread or an event loop."""
