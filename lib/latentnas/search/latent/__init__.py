"""Searches in a latent space: gradient ascent, Bayesian optimisation, CR-LSO."""
