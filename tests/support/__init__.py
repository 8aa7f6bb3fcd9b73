"""What the tests stand on: a real Redis, a network that breaks on request, real processes, ordinary job functions."""
