"""The Vercel AI SDK: runs as UI message streams, for `useChat` and its transports."""
