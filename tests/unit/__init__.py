"""Tests that need no Redis; under a second in total."""
