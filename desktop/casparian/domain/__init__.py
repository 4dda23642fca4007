"""Values and decisions, no I/O: what the program means, without where it keeps it."""
