"""Drivers: each drives one generation and carries out what the state machine decides."""
