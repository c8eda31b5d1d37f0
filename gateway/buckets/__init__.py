"""Buckets of object stores: opened by the settings, and why they fail in the words of the gateway."""
