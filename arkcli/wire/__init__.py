"""The way out: one request to one destination, and many at once. docs/internals.md, section 10."""
