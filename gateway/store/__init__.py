"""The port of the ledger: protocols that every database implements, and the rules of migrations."""
