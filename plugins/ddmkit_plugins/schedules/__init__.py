"""First-party schedules."""
