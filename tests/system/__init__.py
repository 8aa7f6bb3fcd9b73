"""Real processes: signals, kills, restarts; all of it slow."""
