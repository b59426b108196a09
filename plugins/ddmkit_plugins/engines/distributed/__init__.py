"""A network at work in several processes."""
