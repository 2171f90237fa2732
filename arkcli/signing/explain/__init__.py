"""Why a signature does not fit: what usually goes wrong, undone until it fits. Pure, and the standard library only."""
