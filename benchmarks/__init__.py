"""aiorq2 beside other queues, in one run on one machine: ``make bench``, or ``python -m benchmarks --help``.

Only the ratios mean something, and only those within one run: every peer has its own environment, its own best reasonable
settings (each with its reason, in its module), the same Python, the same Redis; the peers take turns, and the turns are repeated.
"""
