"""Sphinx's settings for `./run_all.sh site`: README.md is the front page, and the site holds what its table shows."""

import json
import os
import re
import shutil
from pathlib import Path

from docutils.nodes import SkipNode, math_block
from latex2mathml.converter import convert
from sphinx.errors import SphinxError

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = {Path(file).stem: file for file in re.findall(r"^\| \[[^]]+\]\((notebooks/\S+\.ipynb)\)", README, re.M)}
REPORTS = sorted(set(re.findall(r"\((figures/\S+/REPORT\.md)\)", README)))
PAGES = [page.relative_to(ROOT) for report in REPORTS for page in sorted((ROOT / report).parent.glob("*.html"))]
COURSE = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("notebooks/coursework/[!.]*"))
COURSE = [file for file in COURSE if file.endswith((".md", ".ipynb")) and not re.search("solutions|TEACHERS", file)]
CONTENTS = {"Notebooks": [*SHOWN.values()], "Coursework": COURSE, "Reference": ["notebooks/glossary.md", *REPORTS]}

project = html_title = "latentnas"
root_doc, include_patterns = "README", ["README.md", *(file for files in CONTENTS.values() for file in files)]
exclude_patterns, extensions = [".*", "data", "lib", "site", "tests"], ["myst_nb"]
myst_enable_extensions, myst_heading_anchors = ["attrs_inline", "dollarmath", "html_image"], 4
highlight_language = "none"
nb_execution_mode, nb_code_prompt_show, nb_code_prompt_hide = "off", "Show code", "Hide code"
html_theme, html_static_path, html_css_files, html_math_renderer = "furo", ["site.css"], ["site.css"], "mathml"
html_copy_source = html_use_index = html_show_sphinx = html_show_search_summary = False  # the last needs a server


def led(text, address):
    """A text whose links lead to the copies that the site has, by `address`; links to others are words only."""

    def link(at):
        words, stem, place = at.groups()
        there = stem in SHOWN and words != "an older version"  # which README names and the site has not
        return f"[{words}]({address(SHOWN[stem])}{place})" if there else words

    text = re.sub(r"\[([^][]*)\]\([^)\s]*?(\d\d[a-z]?_\w+)\.ipynb(#[^)\s]*|)\)", link, text)
    text = re.sub(r"\[([^][]*)\]\([^)\s]*solutions[^)\s]*\)", r"\1", text)
    return re.sub(r"(\]\([^)\s]*\.html\))", r"\1{.external}", text)  # a page as it is, not a download


def prepare(app, name, source):
    """Lead links to the copies that the site has, list the contents, fold parameters up, keep alt texts."""
    if app.env.doc2path(name).suffix != ".ipynb":
        source[0] = led(source[0], "/{}".format)
        if name == root_doc:
            source[0] += "\n## Pages to touch\n" + "".join(f"- [{page.stem}]({page}){{.external}}\n" for page in PAGES)
            for caption, files in filter(all, CONTENTS.items()):
                source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(files) + "\n```\n"
        return
    try:
        notebook = json.loads(source[0])
    except ValueError as error:
        raise SphinxError(f"{name}.ipynb is no notebook: {error}") from error

    def page(shown):  # Sphinx finds no documents from what a cell printed
        return os.path.relpath(Path(shown).with_suffix(".html"), Path(name).parent)

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = led("".join(cell["source"]), "/{}".format)
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output["data"]["text/markdown"] = led("".join(output["data"]["text/markdown"]), page)
        if {"parameters", "injected-parameters"}.intersection(cell["metadata"].get("tags", [])):
            cell["metadata"]["tags"].append("hide-input")
        alts = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in cell.get("outputs", [])]
        cell["metadata"] |= {"mystnb": {"image": {"alt": ". ".join(filter(None, alts))}}} if any(alts) else {}
    source[0] = json.dumps(notebook)


def formula(page, node):
    """Write LaTeX as MathML, which browsers draw without a script."""
    latex = re.sub(r"\\tag\{(.*?)\}", r"\\qquad (\1)", node.astext())
    page.body.append(convert(latex, display="block" if isinstance(node, math_block) else "inline"))
    raise SkipNode


def finish(app, error):
    """Put the pages to touch where links lead, and the front page where browsers look."""
    if error:  # which Sphinx tells, and there may be no page
        return
    for page in PAGES:
        shutil.copy(ROOT / page, Path(app.outdir) / page)
    shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app):
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("source-read", prepare)
    app.connect("build-finished", finish)
