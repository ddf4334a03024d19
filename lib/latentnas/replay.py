"""A training step as a CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).

A step of these models launches a thousand small kernels, and between them the GPU waits for Python. A CUDA graph
records them once; a replay launches them all together, on the numbers that are then in the same tensors.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], dict[str, Tensor]]  # rows of a batch `[B]` -> terms of the loss, scalars
WARM_UP = 3  # steps that are not recorded: the first ones prepare what the others use


class Replay:
    """Does a step as `step` does it, but the fourth and later ones of `size` rows by replaying a recording.

    Other numbers of rows, such as the rest of an epoch, are never recorded. A step must wait for nothing, and do the
    same work whatever the rows. Numbers that change from step to step, such as a learning rate, must be in tensors.
    """

    def __init__(self, step: Step, size: int, generator: torch.Generator) -> None:
        self.step, self.generator = step, generator
        self.rows = torch.zeros(size, dtype=torch.long, device=generator.device)
        self.stream = torch.cuda.Stream(generator.device)  # nothing can be recorded in the default stream
        self.warm_up, self.graph, self.terms = WARM_UP, None, {}

    def __call__(self, rows: Tensor) -> dict[str, Tensor]:
        if len(rows) != len(self.rows) or self.warm_up:
            self.warm_up -= len(rows) == len(self.rows)
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                terms = self.step(rows)
            torch.cuda.current_stream().wait_stream(self.stream)
            return terms
        self.rows.copy_(rows)
        if self.graph is None:
            self._record()
        self.graph.replay()
        return self.terms

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.terms = self.step(self.rows)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            found = f"A training step cannot be recorded as a CUDA graph ({str(error).splitlines()[0]})"
            asked = "Let `loss` wait for nothing on the host, or set `recordable = False` in the model's class"
            raise RuntimeError(f"{found}. {asked}.") from error
        self.graph = graph
