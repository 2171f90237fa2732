"""The queue: `engine` defines the interface; each engine is a folder beside it."""
