"""OpenAI's two APIs, and the many servers that speak them."""
