"""Trainable networks: what an architecture becomes when it meets images."""
