"""The archive of results: files are fetched, verified, stored and handed out."""
