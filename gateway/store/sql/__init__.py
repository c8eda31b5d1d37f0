"""Statements and rules of a ledger that every kind of SQL database shares."""
