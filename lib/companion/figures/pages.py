"""Pages to touch, shown inside of a notebook."""

import base64
import io
import os
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import HTML

from companion import paths
from companion.figures import race
from latentnas.plots import explorer


def embedded(page: Path, alt: str) -> HTML:
    """A page under figures/ inside of a notebook, and a small picture of it that leads there. GitHub, and JupyterLab
    until one trusts a notebook, show the picture without the frame; VS Code leaves the frame empty."""
    by_hand = "LATENTNAS_NOTEBOOK" not in os.environ
    address = os.path.relpath(page, Path.cwd() if by_hand else paths.EXECUTED / page.parent.name)
    frame = f'<iframe src="{address}" title="{alt}" width="100%" height="880" style="border: 0"></iframe>'
    draw, file = {"explorer": explorer.picture, "race": race.picture}[page.stem.rpartition("_")[2]], io.BytesIO()
    figure = draw(explorer.held(page))
    figure.savefig(file, dpi=100, metadata={"Software": None})
    plt.close(figure)
    content = base64.b64encode(file.getvalue()).decode()
    picture = f'<img src="data:image/png;base64,{content}" alt="{alt}: {figure.get_label()}" width="345">'
    return HTML(f'{frame}<p><a href="{address}">{picture}<br>{alt}: open it as a page of its own</a></p>')
