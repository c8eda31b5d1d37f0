"""`/v1/admin/clients`: operators make clients and keys, change limits, and revoke keys."""
