"""Who the clients are: those of the configuration and those made at run time, with their keys and limits."""
