"""Accepts a stream of events, one per line."""
