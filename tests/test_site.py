"""The site: it builds without a warning, all its links lead somewhere, and it works offline in a browser."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlparse

import pytest

from browser import CHROMIUM, NO_CHROMIUM, browser, until
from companion import cli, packages, paths
from toy_project import code_cell, make_project, project_environment, run_all

needs_sphinx = pytest.mark.skipif(bool(packages.missing("site")), reason="the extra `site` is not installed")
SHOWN = re.findall(r"^\| \[[^]]+\]\((notebooks/\S+)\.ipynb\)", (paths.ROOT / "README.md").read_text(), re.M)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of this checkout."""
    output = tmp_path_factory.mktemp("output")
    variables = project_environment(output) | {"LATENTNAS_OUTPUT": str(output)}
    run = subprocess.run([paths.ROOT / "run_all.sh", "site"], env=variables, capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    assert "site/index.html" in run.stdout and {path.name for path in output.iterdir()} <= {"site", "data"}
    return output / "site"


class Addresses(HTMLParser):
    """What a page links to, what it loads, its ids and the texts of its pictures."""

    def __init__(self, file):
        super().__init__()
        self.links, self.loads, self.ids, self.alts = [], [], set(), set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        self.alts.add(found.get("alt"))
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.loads += [found[name] for name in ("src", "href", "data") if tag != "a" and name in found]


@pytest.mark.slow
@needs_sphinx
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {file: Addresses(file) for file in site.rglob("*.html")}
    assert {site / f"{name}.html" for name in SHOWN} <= pages.keys() and len(SHOWN) >= 20
    assert not list(site.rglob("*solutions*"))
    for file, page in pages.items():
        loads = [address for address in page.loads if not address.startswith("data:")]
        for address in [*loads, *(link for link in page.links if not re.match("https?://|mailto:", link))]:
            where = urlparse(address)
            assert not where.scheme and not where.netloc, (file, address)
            target = (file.parent / unquote(where.path)).resolve() if where.path else file
            assert target.is_file(), (file, address)
            if where.fragment and target in pages:
                assert unquote(where.fragment) in pages[target].ids, (file, address)
    for file in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", file.read_text(encoding="utf-8")), file


@pytest.mark.slow
@needs_sphinx
def test_pictures_keep_their_alt_texts_and_cells_their_outputs(site):
    found = 0
    for name in filter(lambda name: "/executed/" in name, SHOWN):
        html = Addresses(site / f"{name}.html")
        cells = json.loads((paths.ROOT / f"{name}.ipynb").read_text())["cells"]
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            assert alt is None or any(alt in text for text in html.alts if text), (name, alt)
            found += alt is not None
        pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        assert len(re.findall("<img", (site / f"{name}.html").read_text())) >= pictures
    assert found > 10


@pytest.mark.slow
@needs_sphinx
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_it_works_from_the_disk_in_a_browser(site, tmp_path):
    explorer = next(site.glob("figures/*/*_explorer.html")).relative_to(site)
    formulas = next(name for name in SHOWN if name.endswith("00b_model_by_hand"))
    with browser(tmp_path) as page:
        for domain in ("Page", "Network", "Log", "Runtime"):
            page.call(f"{domain}.enable")

        def shows(address, expression):
            page.call("Page.navigate", url=f"{(site / address).as_uri()}")
            until(lambda: page.evaluate("document.readyState") == "complete")
            return until(lambda: page.evaluate(expression))

        assert shows("index.html", "document.images.length && [...document.images].every(image => image.naturalWidth)")
        assert shows(f"{formulas}.html", "[...document.querySelectorAll('math')].every(m => m.clientHeight > 5)")
        assert page.evaluate("document.querySelectorAll('math[display=block]').length") >= 5
        assert page.evaluate("[...document.querySelectorAll('details.hide')].every(folded => !folded.open)")
        assert shows(explorer, "document.querySelectorAll('svg *, canvas').length > 0")
        shows("index.html", "!!document.querySelector('.sidebar-search')")
        page.evaluate("document.querySelector('.sidebar-search').value = 'uniqueness'")
        page.evaluate("document.querySelector('.sidebar-search-container').submit()")
        found = "[...document.querySelectorAll('.search a')].map(a => a.textContent).join()"  # comes bit by bit
        until(lambda: {"uniqueness", "Glossary"} <= set(re.findall(r"\w+", page.evaluate(found))))
        for width in (1280, 390):
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            for address in ("index.html", *(f"{name}.html" for name in SHOWN)):
                assert shows(address, "document.documentElement.scrollWidth") <= width, (address, width)
        bad = ("Network.loadingFailed", "Runtime.exceptionThrown", "Log.entryAdded")
        assert not [event for event in page.events if event.get("method") in bad]


def small_project(folder):
    """A toy project with a README, a glossary and coursework."""
    project = make_project(folder)
    for name in ("conf.py", "site.css"):
        shutil.copy(paths.ROOT / "notebooks" / name, project / "notebooks")
    (project / "README.md").write_text(
        "# Toy\n\n| notebook |\n| --- |\n| [00 First](notebooks/00_first.ipynb) |\n\n"
        "[the second](notebooks/executed/quick/01_second.ipynb), [first](notebooks/executed/paper/00_first.ipynb)\n"
    )
    (project / "notebooks/glossary.md").write_text("# Glossary\n\n## word\n\nSee [word](#word).\n")
    course = project / "notebooks/coursework"
    (course / "solutions").mkdir(parents=True)
    words = "# Lab\n\n[Solved](lab_solutions.ipynb) and [00](../00_first.ipynb) and [a word](../glossary.md#word)"
    for name in ("../00_first", "lab", "lab_solutions", "solutions/week1"):
        text = words if "/" not in name else "# First"
        cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}, code_cell("secret = 42", 1)]
        metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        (course / f"{name}.ipynb").write_text(json.dumps(content))
    return project


@pytest.mark.slow
@needs_sphinx
def test_links_lead_to_the_copy_shown_and_solutions_stay_out(tmp_path):
    project = small_project(tmp_path)
    run = run_all(project, "site")
    assert run.returncode == 0 and run.stderr == "", run.stderr
    files = {str(file.relative_to(project / "site")) for file in (project / "site").rglob("*") if file.is_file()}
    assert {"index.html", "notebooks/00_first.html", "notebooks/coursework/lab.html"} <= files
    assert not [name for name in files if "solutions" in name or "01_second" in name or "_downloads" in name]
    front, lab = (Addresses(project / "site" / name) for name in ("index.html", "notebooks/coursework/lab.html"))
    assert "notebooks/00_first.html" in front.links and "notebooks/coursework/lab.html" in front.links
    assert {"../00_first.html", "../glossary.html#word"} <= set(lab.links)
    assert not [link for link in lab.links if "solution" in link]
    text = (project / "site/notebooks/coursework/lab.html").read_text()
    assert "Solved" in text and "secret" in text
    before = (project / "site/index.html").stat()
    whole = (project / "notebooks/00_first.ipynb").read_text()
    (project / "notebooks/00_first.ipynb").write_text("{")
    run = run_all(project, "site")
    assert (
        run.returncode == 1
        and "notebooks/00_first.ipynb is no notebook" in run.stderr
        and "build-finished" not in run.stderr
    )
    (project / "notebooks/00_first.ipynb").write_text(whole)
    (project / "notebooks/glossary.md").write_text("# Glossary\n\n[gone](gone.md)\n")
    run = run_all(project, "site")
    assert run.returncode == 1 and "gone.md" in run.stderr and "was not built" in run.stderr
    assert (project / "site/index.html").stat() == before and not list(project.glob(".site*"))


def test_what_the_site_needs_is_installed_into_our_own_environment_only(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(packages, "missing", lambda extra: ["furo"] if extra == "site" else [])
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(cli.subprocess, "run", lambda command: ran.append(command) or failed)
    assert cli.main(["site"]) == 2 and not ran
    assert f"{sys.executable} -P -m pip install furo" in capsys.readouterr().err
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert cli.main(["site"]) == 2 and "could not be installed" in capsys.readouterr().err
    assert ran[0][1:6] == ["-P", "-m", "pip", "install", "furo"] and ran[0][-1] == str(tmp_path / "requirements.lock")
