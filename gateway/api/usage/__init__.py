"""What was made and bought, added up: `/v1/usage` for a client, `/v1/admin/usage` for operators."""
