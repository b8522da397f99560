"""The console: runs, conversations, decisions and workers as pages for people who operate them."""
