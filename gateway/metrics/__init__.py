"""What Prometheus reads: counts of what happened, and figures that are read at each scrape."""
