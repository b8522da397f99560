"""Reads topics for all readers of a process, over few connections.

`Hub` is what readers ask: `asker` answers what needs no waiting, many questions at a time; each
`group` waits for news of up to 256 topics over one connection; a `topic` hands them out.
"""
