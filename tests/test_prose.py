"""The notebooks as texts: how long they are, and how they read. `python tests/test_prose.py` prints the numbers."""

import json
import re
from pathlib import Path
from statistics import median

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST = {
    "words": 1500,
    "code cells": 25,
    "words of the longest cell": 150,
    "lines of the median code cell": 8,
    "words of the median sentence": 15,
    "% of sentences over 30 words": 3,
    "numerals of a cell": 8,
}


def plain(text: str) -> str:
    """The prose of a Markdown cell: no tables, equations, code or pictures; of a link its words."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|<svg.*?</svg>|<!--.*?-->", " ", text, flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip("> ").startswith("|"))
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$[^$]*\$|`[^`]*`", "x", text)  # one word each
    return re.sub(r"<[^>]+>|^[>#*\s-]+|\*|_(?=\W)|(?<=\W)_", " ", text, flags=re.M)


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_][\w'’.,%-]*", text)


def sentences_of(text: str) -> list[list[str]]:
    """The sentences of a cell; a heading, a point of a list or a paragraph ends one too."""
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[*-]|\d+\.)\s)|(?<=^)#.*$", text, flags=re.M)
    found = [words_of(part) for block in blocks for part in re.split(r"(?<=[.!?:;])[)*\"”]*\s+", plain(block))]
    return [words for words in found if len(words) > 2]


def measures(path: Path) -> dict[str, float]:
    """What `MOST` bounds, of one notebook."""
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    code = ["".join(cell["source"]).strip().splitlines() for cell in cells if cell["cell_type"] == "code"]
    lengths = [len(words_of(plain(text))) for text in texts]
    sentences = [len(words) for text in texts for words in sentences_of(text)]
    numerals = [len(re.findall(r"(?<![\w.-])\d[\d.,]*(?!\w)", plain(text))) for text in texts]
    found = sum(lengths), len(code), max(lengths), median(map(len, code)), median(sentences)
    return dict(zip(MOST, (*found, 100 * sum(n > 30 for n in sentences) / len(sentences), max(numerals))))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_plain(source):
    over = {name: value for name, value in measures(source).items() if value > MOST[name]}
    assert not over


def test_a_number_or_a_word_with_an_apostrophe_is_one_word():
    assert words_of(plain("Holm's 1,500 of 99.5 % are *well-known* [words](a/b.md#c d) of `x = 1`")) == [
        *("Holm's", "1,500", "of", "99.5", "are", "well-known", "words", "of", "x")
    ]


def test_the_measures_see_what_they_bound(tmp_path):
    long = "One two three four five. " * 40 + "\n\n" + "word " * 31 + "end.\n\n|1|2|3|\n\n$x_1$ 1 2 3 4 5 6 7 8 9"
    cells = [{"cell_type": "markdown", "source": [long]}, {"cell_type": "code", "source": ["a = 1\n", "b = 2"]}]
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    found = measures(path)
    assert found == {
        "words": 200 + 32 + 10,
        "code cells": 1,
        "words of the longest cell": 242,
        "lines of the median code cell": 2,
        "words of the median sentence": 5,
        "% of sentences over 30 words": pytest.approx(100 / 42),
        "numerals of a cell": 9,
    }


if __name__ == "__main__":
    print("; ".join(f"{name} <= {most}" for name, most in MOST.items()))
    for source in SOURCES:
        found = measures(source)
        print(
            f"{source.stem:24}", *(f"{value:6.4g}{'*' if value > MOST[name] else ' '}" for name, value in found.items())
        )
