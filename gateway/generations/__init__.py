"""What the API does with generations: plan, create, read, cancel, and follow their events."""
