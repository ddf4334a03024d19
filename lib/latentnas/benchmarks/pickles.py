"""Reading pickled data without running code: a pickle may name nothing but NumPy arrays and plain containers.

A pickle is a program; the usual reader runs whatever it asks for. This one refuses every name outside a short
list before anything is called.
"""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from latentnas.benchmarks.download import DataError

# Both modules in which NumPy has kept these two functions: the first up to NumPy 1, the second from NumPy 2.
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(module, "_reconstruct"): np._core.multiarray._reconstruct for module in _NUMPY_MODULES},
    **{(module, "scalar"): np._core.multiarray.scalar for module in _NUMPY_MODULES},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _Refused(f"{module}.{name}")
        return ALLOWED[module, name]


class _Refused(Exception):
    """A pickle asked for something that is not on the list."""


def load_arrays(file: BinaryIO, path: Path) -> Any:
    """What is pickled in an open file; `path` is its name in errors.

    Raises:
        DataError: the pickle asks for anything but NumPy arrays, scalars and dtypes, ordered dictionaries and
            Python's plain types, or it is cut off or no pickle.
    """
    try:
        return _ArrayUnpickler(file).load()
    except _Refused as refused:
        raise DataError(
            f"The pickle {path} asks for {refused}. Pickles are read only as far as they hold numbers, "
            "text and NumPy arrays, because anything else could run code. Do not open it in another way "
            "unless you trust whoever made it."
        ) from None
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise DataError(
            f"The file {path} is cut off or no pickle ({type(error).__name__}: {error}). Get it again."
        ) from error
