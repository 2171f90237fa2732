"""What Signal Ark promises: every name that goes over the wire."""
