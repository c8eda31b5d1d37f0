"""Fetches URLs that strangers named, within limits and without reaching private addresses (protection against SSRF)."""
