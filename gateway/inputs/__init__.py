"""The input images of clients: stored, checked, converted, and handed over to providers."""
