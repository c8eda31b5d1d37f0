"""URLs that strangers named, fetched without reaching private addresses (SSRF) and within limits."""
