"""What a user declares: agents, their tools, callbacks and output types."""
