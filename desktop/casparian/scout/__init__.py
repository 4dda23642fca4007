"""What is there: the walk, the hashes, the kinds."""
