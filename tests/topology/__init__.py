"""Failovers, slots on the move, hosts that are cut off: real servers, real workers, a ledger outside of Redis."""
