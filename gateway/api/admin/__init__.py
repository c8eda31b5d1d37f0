"""What operators see and do: the generations of all clients, providers, deliveries."""
