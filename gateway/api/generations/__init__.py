"""What every generation resource of the API shares: parameters, views, events, content."""
