"""What the parsers of text share: encodings and lines, dialects of delimited text, names of columns."""
