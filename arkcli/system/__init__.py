"""The machine: every write and lock, and where files belong."""
