"""Who drives which generation, and how one is driven from its start to its end."""
