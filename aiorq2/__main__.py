"""``python -m aiorq2``."""

from aiorq2.cli import main

if __name__ == "__main__":
    main()
