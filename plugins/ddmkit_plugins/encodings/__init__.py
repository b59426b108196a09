"""First-party encodings."""
