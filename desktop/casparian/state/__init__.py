"""The control plane: tables, engine, repositories and the queue."""
