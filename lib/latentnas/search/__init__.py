"""Searching for architectures in a latent space. Labels of test architectures never enter a search."""
