"""OpenAI's Chat Completions API over runs: a completion is a run without a conversation."""
