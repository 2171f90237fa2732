"""The roof: one module per command group."""
