"""One use case per function: open a unit of work, ask the domain, commit, publish what happened."""
