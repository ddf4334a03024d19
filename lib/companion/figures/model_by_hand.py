"""The figure of notebook 00b: what the encoder and the decoder of D-VAE do with one small graph."""

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from companion.figures import StoredFigure
from latentnas.plots.cells import BOX_HEIGHT, BOX_WIDTH, draw_box
from latentnas.plots.style import BLUE, GREEN, GREY, INK, PALE, VERMILLION, new_figure, styled

NOTEBOOK = "00b_model_by_hand"
STEP = 1.35  # between two vertices
OPERATIONS = ("input", "conv3x3", "maxpool3x3", "output")
HALF = BOX_WIDTH / 2


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, **look: object) -> None:
    style = dict(arrowstyle="-|>,head_length=4,head_width=2", shrinkA=1, shrinkB=1, mutation_scale=1, linewidth=1.1)
    ax.add_patch(FancyArrowPatch(start, end, color=colour, **style | look))


def bent(bend: float) -> str:
    """Below the straight line on the way to the right, where `bend` is above 0."""
    return f"arc3,rad={bend}"


def write(ax: Axes, x: float, y: float, text: str, colour: str = INK, size: float = 7, **look: object) -> None:
    ax.text(x, y, text, color=colour, fontsize=size, ha="center", va="center", **look)


@styled
def encoder_and_decoder() -> Figure:
    """A graph of four vertices read in both directions to a point, and the same graph half written from the point."""
    figure, axes = new_figure(2.35)
    ax = axes[0, 0]
    places = [STEP * v for v in range(4)]

    # The encoder: every state along the edges, then every state against them.
    for x, name, v in zip(places, OPERATIONS, range(4)):
        draw_box(ax, x, name)
        write(ax, x, 0.62, f"$h_{v}$", BLUE)
        write(ax, x, -0.62, f"$h'_{v}$", VERMILLION)
    for left, right in pairwise(places):
        arrow(ax, (left + HALF, 0.16), (right - HALF, 0.16), BLUE)
        arrow(ax, (right - HALF, -0.16), (left + HALF, -0.16), VERMILLION)
    arrow(ax, (places[0], 0.82), (places[2], 0.82), BLUE, connectionstyle=bent(-0.3))
    arrow(ax, (places[2], -0.82), (places[0], -0.82), VERMILLION, connectionstyle=bent(-0.3))
    write(ax, places[1] + 0.65, 1.75, "encoder: messages along the edges …", BLUE)
    write(ax, places[1] + 0.65, -1.75, "… and against them", VERMILLION)

    # The code: mean and variance, and one point drawn from them.
    middle = places[3] + 2.2
    arrow(ax, (places[3] + 0.25, 0.62), (middle - 0.55, 0.2), BLUE, connectionstyle=bent(-0.25))
    arrow(ax, (places[0] + 0.25, -0.7), (middle - 0.55, -0.25), VERMILLION, connectionstyle=bent(0.2))
    look = dict(boxstyle="round,pad=0,rounding_size=0.12", facecolor="white", edgecolor=GREY, linewidth=0.9)
    ax.add_patch(FancyBboxPatch((middle - 0.5, -0.5), 1.0, 1.0, **look))
    write(ax, middle, 0.2, r"mean $\mu$")
    write(ax, middle, -0.2, r"var. $\sigma^2$")
    point = middle + 1.6
    arrow(ax, (middle + 0.52, 0), (point - 0.22, 0), INK)
    write(ax, (middle + point) / 2 + 0.15, 0.28, r"$\epsilon$", GREY)
    for row in range(5):
        ax.add_patch(Circle((point, 0.6 - 0.3 * row), 0.13, facecolor=[GREEN, PALE][row % 2], linewidth=0))
    write(ax, point, 1.1, "point $z$", GREEN)

    # The decoder: two vertices are written, the third is being decided.
    right = [point + 1.25 + STEP * v for v in range(4)]
    arrow(ax, (point + 0.2, 0), (right[0] - HALF, 0), GREEN)
    for x, name in zip(right[:3], OPERATIONS):
        draw_box(ax, x, name)
    arrow(ax, (right[0] + HALF, 0), (right[1] - HALF, 0), INK)
    arrow(ax, (right[1] + HALF, 0), (right[2] - HALF, 0), GREEN, linestyle=(0, (2, 2)))
    top = BOX_HEIGHT / 2 + 0.05
    arrow(ax, (right[0], top), (right[2], top), GREEN, connectionstyle=bent(-0.35), linestyle=(0, (2, 2)))
    write(ax, right[1], 1.32, "edge? $p(0→2)$", GREEN)
    write(ax, right[2] + 0.1, -0.62, "type? $p(t_2)$", GREEN)
    ax.add_patch(FancyBboxPatch((right[3] - HALF, -BOX_HEIGHT / 2), BOX_WIDTH, BOX_HEIGHT, **look | {"linestyle": ":"}))
    write(ax, right[3], 0, "next")
    write(ax, right[1] + 0.65, -1.75, "decoder: one vertex, then its edges, then the next vertex", GREEN)
    ax.set(xlim=(-0.6, right[3] + 0.6), ylim=(-2.0, 2.0), aspect="equal")
    ax.axis("off")
    return figure


def findings(difference: float, alike: int, tested: int, returned: float, valid: float) -> list[str]:
    """What a run found, a point each. `difference` is the largest of mean codes and loss; `alike` of `tested` are
    decoded to the same by both models; `returned` and `valid` are percent of them."""
    same = f"all {tested:,}" if alike == tested else f"{alike:,} of {tested:,}"
    back, networks = (f"{share:.1f} %".replace(".0 ", " ") for share in (returned, valid))
    return [
        f"With the same weights, the largest difference of the model by hand from the library's is {difference:.2e}. "
        f"Once trained, both decode {same} unseen test graphs alike.",
        f"After this short training {back} of these graphs come back whole (figure `{NOTEBOOK}_decoded`).",
        f"Of what it writes for them {networks} are valid networks. Points of the prior are another test "
        "([02](02_ngae_latent_space.ipynb)).",
    ]


FIGURES: dict[str, StoredFigure] = {"model": ((), encoder_and_decoder)}
