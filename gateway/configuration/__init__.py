"""The configuration of the running process: how it is read again, checked as a whole, and put in place at once."""
