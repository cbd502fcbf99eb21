"""Multi-host runs: membership, start-up barrier, and failure detection."""
