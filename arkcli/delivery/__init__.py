"""The one loop that makes attempts, and what runs on it."""
