"""The real rq beside aiorq2, on the same Redis."""
