"""What must survive what: real processes, a real Redis, a broken network, and a ledger that Redis knows nothing of.

``docs/faults.md`` says which test stands for which fault. All of it is slow.
"""
