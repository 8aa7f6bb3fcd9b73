"""What any backend must do, on a real Redis and on ``memory://``: read beside ``aiorq2/states.py``."""
