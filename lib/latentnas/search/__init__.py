"""Searching a table, or a space that is sampled, by asking for architectures and being told their values."""
