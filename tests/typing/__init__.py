"""What users' type checkers see: checked by mypy, never run."""
