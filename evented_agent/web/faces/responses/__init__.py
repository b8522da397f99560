"""OpenAI's Responses API over runs: a response is a leg of a run."""
