"""The queue: what every engine can do is in `engine`; each engine is a folder beside it."""
