"""The queue in a PostgreSQL database, shared by any number of hosts."""
