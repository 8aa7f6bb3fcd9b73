"""Real processes as a user starts them; all of it slow. What they survive is in ``tests/faults``."""
