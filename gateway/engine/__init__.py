"""The drivers: one a generation, which carries out what the state machine decides."""
