"""The README's results table and figures/<profile>/REPORT.md, generated from results; nothing is typed by hand."""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from companion import notebooks, paths, profiles
from companion.claims import load_results, seconds_of
from latentnas.progress import in_words

MARKERS = ("<!-- results -->", "<!-- end of results -->")
PUBLISHED = ("paper", "recommended", "quick")  # profiles that the README shows, the most telling first; never smoke
README_HEAD = ("experiment", "in the paper", "notebook", "command", "time, 2 CPU cores", "time, GPU", "result")
CLAIM_HEAD = ("claim", "paper", "printed in", "target", "ours", "95 % interval", "unit", "seeds", "verdict")


def labels_with_results() -> list[str]:
    """Folder names under data/results that hold results, changed-parameter runs included."""
    return sorted({path.parent.name for path in paths.RESULTS.glob("*/[!.]*.json")})


def renew(labels: Collection[str]) -> None:
    """Write REPORT.md of each label that has results, and the README's table if these are the project's own results;
    but leave alone what would not change.
    """
    reports = {label: report_text(label) for label in labels_with_results() if label in labels}
    texts = {paths.FIGURES / label / "REPORT.md": text for label, text in reports.items()}
    readme = paths.ROOT / "README.md"
    if paths.OUTPUT == paths.ROOT and readme.exists():
        texts[readme] = with_table(readme.read_text(encoding="utf-8"))
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            paths.write_text(path, text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def with_table(readme: str) -> str:
    """The README's text with the table between its markers renewed."""
    before, found, rest = readme.partition(MARKERS[0])
    _, found_end, after = rest.partition(MARKERS[1])
    if not (found and found_end):
        raise profiles.UsageError(f"README.md has lost the markers of its results table; put back {' '.join(MARKERS)}.")
    return f"{before}{MARKERS[0]}\n{readme_table()}{MARKERS[1]}{after}"


def readme_table() -> str:
    """One row for each notebook, by [readme.<notebook>] in profiles.toml; cells stay empty where it has not run."""
    about = profiles.read_profiles().readme
    results = {profile: load_results(profile) for profile in PUBLISHED}
    rows = []
    for name in notebooks.names():
        runs = {profile: found[name] for profile, found in results.items() if name in found}
        shown = next(iter(runs), None)
        option = f" --profile {shown}" if shown not in (None, "quick") else ""
        entry = about.get(name, profiles.Readme())
        results_of = f"[{shown}](figures/{shown}/REPORT.md): "
        found = results_of + outcome(entry.claims, all_claims(runs[shown])) if shown else ""
        links = [f"[{name}](notebooks/{name}.ipynb)", f"`./run_all.sh --only {name[:2]}{option}`"]
        durations = [times(runs, "cpu"), times(runs, "cuda") or ("*not measured*" if runs else "")]
        rows.append([notebooks.title_of(name), entry.printed_in, *links, *durations, found])
    return table(README_HEAD, rows)


def times(runs: dict[str, dict], device: str) -> str:
    """'quick 2 min, paper 1 h 5 min': what the runs on this kind of device took, training included."""
    manifests = {profile: runs[profile]["manifest"] for profile in reversed(runs)}
    there = {profile: run for profile, run in manifests.items() if run["device"].startswith(device)}
    return ", ".join(f"{profile} {in_words(seconds_of(run))}" for profile, run in there.items())


def outcome(patterns: Sequence[str], claims: Sequence[dict]) -> str:
    """The claims that a pattern names in short, each with the paper's value where there is one.

    A claim goes by the last part of its id, or by all of it where another has the same last part.
    """
    measured = [claim for claim in claims if claim["ours"] is not None]
    shown = [claim for claim in measured if any(fnmatchcase(claim["id"], pattern) for pattern in patterns)]
    short = [claim["id"].rpartition(".")[2] for claim in shown]
    parts = []
    for claim, name in zip(shown, short):
        paper = f" (paper {number(claim['paper'])})" if claim["paper"] is not None else ""
        name = name if short.count(name) == 1 else claim["id"]
        parts.append(f"{name} {number(claim['ours'])} {claim['unit']}{paper}")
    return "; ".join(parts) or f"{len(claims)} numbers in the report"


def number(value: float | None) -> str:
    """Five significant digits at most, no exponent where it can be avoided; '' for None."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def report_text(label: str) -> str:
    """All claims, figures and run facts of one label as Markdown."""
    profile, _, changed = label.partition("+")
    verdict = "the number's judgement is against the target where one is set, else against the paper."
    lines = [f"# Results of profile {profile}" + (", parameters changed" if changed else ""), ""]
    lines += [f"Generated from `data/results/{label}`; {verdict}", "Intervals are at 95 %.", ""]
    for notebook, result in load_results(label).items():
        lines += [f"## {notebook}", "", run_facts(result), ""]
        if found := all_claims(result):
            lines += [table(CLAIM_HEAD, [claim_row(claim) for claim in found])]
        for figure in sorted((paths.FIGURES / label).glob(f"{notebook}_*.png")):
            lines += [f"![{figure.stem}]({figure.name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def all_claims(result: dict) -> list[dict]:
    """The claims of a results file, those about time last."""
    return result["claims"] + result["manifest"].get("times", [])


def claim_row(claim: dict) -> list[str]:
    interval = f"{number(claim['low'])} to {number(claim['high'])}" if claim["low"] is not None else ""
    paper, target, ours = (number(claim[name]) for name in ("paper", "target", "ours"))
    seeds, printed_in = ", ".join(map(str, claim["seeds"])), claim["printed_in"] or ""
    return [f"`{claim['id']}`", paper, printed_in, target, ours, interval, claim["unit"], seeds, claim["verdict"]]


def run_facts(result: dict) -> str:
    """One line: data, parameters, machine, time, memory, commit."""
    manifest = result["manifest"]
    parameters = ", ".join(f"{name} = {value}" for name, value in result["parameters"].items())
    took = in_words(manifest["wall_seconds"])
    if manifest["loaded_seconds"]:
        took += f" (with trained checkpoints loaded; training them took {in_words(manifest['loaded_seconds'])})"
    memory = ", ".join(f"{megabytes:,} MB ({device})" for device, megabytes in manifest["peak_memory_mb"].items())
    git = manifest["git"]
    code = f"; commit {git['commit'][:10]}{' with changes' if git['changed'] else ''}" if git else ""
    where = f"{manifest['device']}, {manifest['cpu_cores']} CPU cores"
    torch = manifest["versions"].get("torch", "")
    experiment = f"Data: {result['data_source']}. Parameters: {parameters or 'none'}."
    return f"{experiment} On {where}: {took}, at most {memory}; torch {torch}{code}."
