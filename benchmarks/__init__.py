"""What is measured, and the results; never shipped in the wheel."""
