"""What the API does with generations: plan, create, read, list, cancel, delete, and follow their events."""
