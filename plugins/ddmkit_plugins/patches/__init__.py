"""First-party patches."""
