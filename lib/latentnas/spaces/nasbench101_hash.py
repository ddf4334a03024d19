"""The graph hash of NAS-Bench-101 (Ying et al., ICML 2019), for many cells at a time.

Each vertex starts with the MD5 of its out-degree, in-degree and label (input -1, output -2, operations 0 to 2). As many
times as the graph has vertices, it takes the MD5 of the sorted hashes of its predecessors, the sorted hashes of its
successors and its own. The hash of the graph is the MD5 of the sorted list of its vertices'. All of it happens on
hexadecimal text, so the text must agree to the last character.

`graphs.canonical_hash` tells cells apart as well and much faster. This one is needed because published tables are
keyed, and ordered, by it.
"""

import hashlib

import numpy as np

from latentnas.graphs import DagBatch

LABELS = np.array([-1, -2, 0, 1, 2])  # of the types input, output, conv3x3, conv1x1, maxpool3x3
HEX = 32  # characters of one MD5


def official_digests(batch: DagBatch) -> np.ndarray:
    """MD5 graph hashes as bytes, uint8 `[B, 16]`. Types must be 0 to 4: this is not checked."""
    types, adjacency = batch.types.numpy(), batch.adjacency.numpy()
    digests = np.empty((len(batch), 16), dtype=np.uint8)
    for count in batch.num_vertices.unique().tolist():
        rows = np.flatnonzero(batch.num_vertices.numpy() == count)
        digests[rows] = _graph_digests(types[rows, :count], adjacency[rows, :count, :count])
    return digests


def hexadecimal(digests: np.ndarray) -> list[str]:
    """Digests, uint8 `[B, 16]`, as text of 32 characters each."""
    text = digests.tobytes().hex()
    return [text[start : start + HEX] for start in range(0, len(text), HEX)]


def _graph_digests(types: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """Digests `[B, 16]` of graphs that all have the V vertices of types `[B, V]`."""
    count = types.shape[1]
    degrees = np.stack([adjacency.sum(2), adjacency.sum(1)], axis=-1)  # out, in
    start = np.concatenate([degrees, LABELS[types][..., None]], axis=-1).reshape(-1, 3)
    distinct, inverse = np.unique(start, axis=0, return_inverse=True)
    digests = _md5([str(tuple(row)).encode() for row in distinct.tolist()])[inverse.reshape(-1)]

    degrees = degrees.reshape(-1, 2)
    predecessors, successors = _neighbours(adjacency.transpose(0, 2, 1)), _neighbours(adjacency)
    for _ in range(count):
        digests = _refined(digests, degrees, predecessors, successors, adjacency)

    texts = hexadecimal(digests)
    return _md5([str(sorted(texts[at : at + count])).encode() for at in range(0, len(texts), count)])


def _refined(
    digests: np.ndarray, degrees: np.ndarray, predecessors: np.ndarray, successors: np.ndarray, adjacency: np.ndarray
) -> np.ndarray:
    """The digests of all vertices, `[B * V, 16]`, after one more round."""
    keys, hexes = _sort_keys(digests), _hexes(digests)
    # vertices with the same predecessors, successors and own digest get the same one: compute it once
    own = keys.reshape(adjacency.shape[:2])
    incoming = (adjacency * own[:, :, None]).sum(1)
    outgoing = (adjacency * own[:, None, :]).sum(2)
    _, first, inverse = np.unique(own + 3 * incoming + 5 * outgoing, return_index=True, return_inverse=True)

    new = np.empty((len(first), 16), dtype=np.uint8)
    for out_degree, in_degree in np.unique(degrees[first], axis=0):
        chosen = np.flatnonzero((degrees[first] == (out_degree, in_degree)).all(1))
        vertices = first[chosen]
        parts = []
        for neighbours, degree in ((predecessors, in_degree), (successors, out_degree)):
            those = neighbours[vertices, :degree]
            those = np.take_along_axis(those, np.argsort(keys[those], axis=1), axis=1)
            bar = np.full((len(vertices), 1), ord("|"), dtype=np.uint8)
            parts += [hexes[those].reshape(len(vertices), degree * HEX), bar]
        new[chosen] = _md5(_rows_as_bytes(np.concatenate([*parts, hexes[vertices]], axis=1)))
    return new[inverse.reshape(-1)]


def _neighbours(adjacency: np.ndarray) -> np.ndarray:
    """Row numbers of vertices, `[B * V, V]`: vertex v of graph b has row b * V + v, and its entry begins with its
    successors."""
    graphs, count, _ = adjacency.shape
    order = np.argsort(~adjacency, axis=2, kind="stable") + count * np.arange(graphs)[:, None, None]
    return order.reshape(-1, count)


def _sort_keys(digests: np.ndarray) -> np.ndarray:
    """The first half of each digest as a number, uint64 `[M]`: it orders and tells apart like the whole."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0].astype(np.uint64)


def _hexes(digests: np.ndarray) -> np.ndarray:
    """The text of digests as ASCII codes, uint8 `[M, 32]`."""
    return np.frombuffer(digests.tobytes().hex().encode(), dtype=np.uint8).reshape(-1, HEX)


def _rows_as_bytes(text: np.ndarray) -> list[bytes]:
    """Rows of ASCII codes, uint8 `[M, L]`, as bytes."""
    return np.ascontiguousarray(text).view(f"S{text.shape[1]}")[:, 0].tolist()


def _md5(messages: list[bytes]) -> np.ndarray:
    """MD5 of each message, uint8 `[M, 16]`."""
    md5 = hashlib.md5
    return np.frombuffer(b"".join([md5(m).digest() for m in messages]), dtype=np.uint8).reshape(-1, 16)
