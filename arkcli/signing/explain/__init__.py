"""Explains why a signature does not match: undoes common mistakes until it does. Pure; standard library only."""
