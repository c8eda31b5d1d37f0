"""The ledger: generations, attempts, outputs and events, in SQL."""
