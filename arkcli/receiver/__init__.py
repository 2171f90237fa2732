"""`ark listen`: takes webhooks on this machine, checks their signatures, and answers as it is told."""
