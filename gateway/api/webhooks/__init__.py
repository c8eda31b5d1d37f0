"""Webhooks as clients manage them: endpoints, deliveries, and the description of what a receiver gets."""
