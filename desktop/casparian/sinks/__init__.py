"""The data plane: where outputs are staged, then promoted."""
