"""What an architecture is: one module per search space, each with one instance that knows everything about it.

A new space is one new file here: a class with the members of `latentnas.interfaces.Space`, and one instance of it. Say
in the module's docstring what the graphs look like, what the text looks like and which network costs what. Number the
vertices in topological order, from the input (type `input_type`) to the output (`output_type`), and look at
`batch.num_vertices`, not at the width of the tensors: batches may be padded. `enas` is the shortest example of a space
that is too large to list. One that can be listed also has `enumerate()` and `index(batch)`, as `nasbench201`; with
`neighbor_rows(rows)`, its neighbours by rows, a table of it can be searched. Graphs are looked up by
`graphs.canonical_hash`, which may collide: count once that the hashes are as many as the architectures.

D-VAE, NGAE and GCN join to the output exactly the vertices without a successor. So an architecture with another edge
into the output, such as a skip over the last operation, never comes back from them, however low the loss: the loss
scores decisions that decoding does not take. SVGe and S-VAE decide these edges too. Or, as `enas`, leave them out.

`latentnas.interfaces.check_space(MySpace())` says what is missing; a line in `tests/test_interfaces.py` keeps it so.
"""
