"""latentnas: neural architecture search in the latent space of graph variational autoencoders."""

__version__ = "0.1.0"
