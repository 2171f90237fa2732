"""A PostgreSQL database: its address, the connection to it, and ark's tables in it."""
