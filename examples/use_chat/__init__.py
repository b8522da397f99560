"""A page made with `useChat` of the AI SDK, and the agent that answers it."""
