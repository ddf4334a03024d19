"""Where labels come from: one module per table of measured architectures."""
