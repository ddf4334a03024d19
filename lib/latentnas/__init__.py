"""latentnas: neural architecture search in the latent space of graph variational autoencoders."""

import os
import warnings

__version__ = "0.1.0"

# Read when PyTorch is imported: threads that wait for each other sleep. Where they spin, as is the default, two of
# them on a busy machine of two cores train up to a hundred times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Some packages ask for progress bars that nobody needs here.
warnings.filterwarnings("ignore", message="IProgress not found")
