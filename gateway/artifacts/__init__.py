"""The archive of results: their files are downloaded, checked, stored and given to clients."""
