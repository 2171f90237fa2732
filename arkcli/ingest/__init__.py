"""`ark serve`: takes events over HTTP and makes them durable, many at once."""
