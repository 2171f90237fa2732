"""`ark listen`: receives webhooks on this machine, verifies their signatures, and answers by plan or application."""
