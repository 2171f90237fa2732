"""destinations.toml: the destinations and the signing secret."""
