"""Parser code runs here: a child process that parses, and the supervisor that keeps it honest."""
