"""First-party samplers."""
