"""What generations reserve and cost, and the budgets that limit it. Pure."""
