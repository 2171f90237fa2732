"""Accepting a stream of events, one a line."""
