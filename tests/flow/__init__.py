"""The living tutorial: one concept a file."""
