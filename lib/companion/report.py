"""The README's findings and results table and figures/<profile>/REPORT.md: every number in them is a stored one."""

import contextlib
import html
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from companion import notebooks, paths, profiles
from companion.claims import FILES, load_results, read_results, seconds_of
from latentnas.progress import in_words

MARKERS = "<!-- {} -->", "<!-- end of {} -->"  # in the README, around what is generated
WIDE = "&nbsp;" * 56  # as wide as a thumbnail: browsers squeeze a column that has nothing but pictures
PUBLISHED = ("paper", "recommended", "quick")  # profiles that the README shows, of equal seeds the first; never smoke
README_HEAD = ("notebook", "question", "paper beside ours", "time on 2 CPU cores")
CLAIM_HEAD = ("claim", "paper", "printed in", "target", "ours", "95 % interval", "unit", "seeds", "verdict")
NAMES = {"ngae": "NGAE", "dvae": "D-VAE", "svge": "SVGe", "crlso": "CR-LSO", "e2nas": "E2NAS", "nb101": "NAS-Bench-101"}
NAMES |= {"nb201": "NAS-Bench-201", "enas": "ENAS", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
NAMES |= {"gp": "Gaussian process", "kendall": "Kendall's tau", "mostparameters": "most parameters"}
NAMES |= {"graphfeatures": "graph features", "pathfeatures": "path features", "randomsharing": "random sharing"}
NAMES |= {"graphandpaths": "graph and path features", "svgefinetuned": "SVGe (fine-tuned)"}
NAMES |= {"svgeuntrained": "SVGe (untrained)"}
NAMES |= {"imagenet16": "ImageNet16-120", "nbgraph": "NAS-Bench-Graph", "rmse": "RMSE", "std": "(st. dev.)"}
ABOUT = """Generated from `data/results/{label}`. Intervals are at 95 %: how computed, and over what, stands beside
them. (*As stored*: older results, which did not record how. No verdict is taken from them.) A number is *met* or
*short* where its whole interval lies on one side of the target, or of the paper's number where no target is set;
*undecided* where it does not; *seen once* with fewer than three seeds. A paper's number may be off by half of its
last place."""
COMPARED = """Each number with its 95 % interval and seeds, and how much the second is above the first. *apart*: the two
intervals do not overlap. That is no test: numbers whose intervals overlap may differ, and of many some are apart by
chance."""


def labels_with_results() -> list[str]:
    """Folder names under data/results that hold results, changed-parameter runs included."""
    return sorted({path.parent.name for path in paths.RESULTS.glob(f"*/{FILES}")})


def renew(labels: Collection[str]) -> None:
    """Write REPORT.md of each label with results and, where they are the project's own, the README's table."""
    found = [label for label in labels_with_results() if label in labels]
    texts = {paths.FIGURES / label / "REPORT.md": report_text(label) for label in found}
    readme = paths.ROOT / "README.md"
    if paths.OUTPUT == paths.ROOT and readme.exists():
        try:
            texts[readme] = renewed(readme.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            what = f"README.md is not UTF-8 text ({error.reason} at byte {error.start}), so no report was renewed."
            raise profiles.UsageError(f"{what} Save it as UTF-8, then give the command again.") from error
    for path, text in texts.items():
        if not path.exists() or path.read_bytes() != text.encode():
            paths.write_text(path, text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def renewed(readme: str) -> str:
    """The README's text with what stands between its markers renewed."""
    for name, text in (("findings", findings()), ("results", readme_table())):
        start, end = (marker.format(name) for marker in MARKERS)
        before, found, rest = readme.partition(start)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise profiles.UsageError(f"README.md has lost the markers of its {name}; put back {start} {end}.")
        readme = f"{before}{start}\n{text}{end}{after}"
    return readme


def findings() -> str:
    """The [[finding]] tables of profiles.toml with their figures, without those that stored results do not bear out."""
    rows, found = [], profiles.read_profiles().finding
    results = {profile: load_results(profile) for profile in {finding.profile for finding in found}}
    for finding in found:
        result = results[finding.profile].get(finding.notebook, {"claims": [], "manifest": {"times": []}})
        known = {claim["id"]: claim for claim in all_claims(result) if claim["ours"] is not None}
        wanted = [*re.findall(r"{(.+?)(?::interval)?}", finding.text), *finding.when]
        if all(id in known and known[id]["verdict"] in finding.when.get(id, known[id]["verdict"]) for id in wanted):
            text = finding.text
            for id, claim in known.items():
                text = text.replace(f"{{{id}}}", short(claim)).replace(f"{{{id}:interval}}", short_interval(claim))
            text, alt = " ".join(text.split()), html.escape(finding.alt)
            picture = f"figures/{finding.profile}/{finding.notebook}_{finding.figure}.png"
            where = f"[{notebooks.number_of(finding.notebook)}]({read_at(finding.notebook, finding.profile)})"
            image = f'<img src="{picture}" alt="{alt}" width="240">'
            rows.append([f"[{image}]({picture})", f"{text} ({where}, `{finding.profile}`)"])
    return table((WIDE, ""), rows)


def read_at(notebook: str, *profiles: str | None) -> str:
    """Where to read a notebook: its executed copy of the first of some profiles that has one, else its source."""
    run = [profile for profile in profiles if (paths.EXECUTED / str(profile) / f"{notebook}.ipynb").exists()]
    return f"notebooks/executed/{run[0]}/{notebook}.ipynb" if run else f"notebooks/{notebook}.ipynb"


def readme_table() -> str:
    """One row for each notebook, by [readme.<notebook>] in profiles.toml: the profile with the most seeds, if any."""
    content = profiles.read_profiles()
    results = {profile: load_results(profile) for profile in PUBLISHED}
    rows = []
    for name in notebooks.names():
        before = {p: [found[of] for of in content.depends.get(name, []) if of in found] for p, found in results.items()}
        entry = content.readme.get(name, profiles.Readme())
        headlines = {profile: headline(entry.claims, found) for profile, found in results.items() if name in found}
        seeds = {profile: [len(line[0]["seeds"]) for line in lines] for profile, lines in headlines.items()}
        shown = max(seeds, key=lambda profile: sum(seeds[profile]) / max(len(seeds[profile]), 1), default=None)
        runs, lines = {profile: results[profile][name] for profile in headlines}, []
        current = [profile for profile in (shown, *PUBLISHED) if "code" in runs.get(profile, {}).get("manifest", {})]
        if shown:
            report = f"[{shown}, all {len(all_claims(runs[shown]))} numbers](figures/{shown}/REPORT.md)"
            lines = [*(in_short(*line, words=content.words) for line in headlines[shown]), report]
            if shown not in current:
                here = f"; the linked copy is `{current[0]}`" if current else ""
                lines.insert(0, f"*From [an older version]({read_at(name, shown)}){here}:*")
            elif settings := changed_settings(shown, runs[shown]):
                lines.insert(0, f"*This run had {settings}:*")
        title = f"[{notebooks.number_of(name)} {notebooks.title_of(name)}]({read_at(name, *current, *PUBLISHED)})"
        took = [times(runs, device, before) for device in ("cpu", "cuda")]
        if entry.stored_minutes and "recommended" in took[0]:
            took[0] += f" (and {in_words(60 * entry.stored_minutes)} stored)"
        rows.append([title, entry.question, "<br>".join(lines), "<br>".join(filter(None, took))])
    return table(README_HEAD, rows)


def changed_settings(profile: str, result: dict) -> str:
    """Which settings of its profile a run had otherwise than they are today: 'seed 0 (today 1)'; '' if none."""
    today, then = profiles.profile_parameters(profile, result["notebook"]), result["parameters"]
    other = {name: (then[name], value) for name, value in today.items() if then.get(name, value) != value}
    texts = {name: [str(value).removesuffix(".0") for value in pair] for name, pair in other.items()}
    return ", ".join(f"`{name}` {old} (today {new})" for name, (old, new) in texts.items())


def headline(entries: Iterable[Sequence[str]], results: Mapping[str, dict]) -> list[list[dict]]:
    """Of each entry the claim and those that it is compared with, where it is measured and there is a comparison."""
    known = {claim["id"]: claim for result in results.values() for claim in all_claims(result) if value_of(claim)}
    lines = [[known[id] for id in entry if id in known] for entry in entries]
    lines = [line for entry, line in zip(entries, lines) if line and line[0]["id"] == entry[0]]
    return [line for line in lines if len(line) > 1 or line[0]["verdict"] != "no published value"]


def times(runs: dict[str, dict], device: str, before: Mapping[str, Sequence[dict]] = MappingProxyType({})) -> str:
    """'quick 2 min, paper 1 h 5 min': what the runs on this kind of device took, training included, but not the
    trainings of notebooks that each goes on from, `before` by profile: 'after 02: quick 1 min'."""
    manifests = {profile: runs[profile]["manifest"] for profile in reversed(runs)}
    there = {profile: run for profile, run in manifests.items() if run["device"].startswith(device)}
    on = f"on {next(iter(there.values()))['device']}: " if there and device != "cpu" else ""
    earlier = sorted({notebooks.number_of(run["notebook"]) for of in before.values() for run in of})
    on += f"after {', '.join(earlier)}: " if there and earlier else ""
    shared = {profile: sum(run["manifest"]["loaded_seconds"] for run in of) for profile, of in before.items()}
    own = {name: seconds_of(run) - min(shared.get(name, 0), run["loaded_seconds"]) for name, run in there.items()}
    return on + ", ".join(f"{profile} {in_words(seconds)}" for profile, seconds in own.items())


def in_short(claim: dict, *others: dict, words: Mapping[str, str] = MappingProxyType({})) -> str:
    """A claim after the paper's number, with its interval, seeds and verdict, and the numbers beside it; `words` by id
    say what they are, otherwise the ids do."""
    goals = [f"{name} {aim(claim, name)}" for name in ("paper", "target") if claim[name] is not None]
    judged = claim["ours"] is not None and claim["verdict"] != "no published value"
    ours = f"ours {measured(claim)}{f', *{verdict_of(claim)}*' * judged}"
    beside = [f"{words.get(other['id']) or named(other, claim)} {judged_value(other, claim)}" for other in others]
    return f"{words.get(claim['id']) or named(claim)}: " + "; ".join([*goals, ours, *beside])


def judged_value(other: dict, claim: dict) -> str:
    """The number beside a claim, with its verdict where that is another than the claim's."""
    verdicts = {claim["verdict"], other["verdict"]}
    apart = len(verdicts) == 2 and verdicts < {"met", "short", "undecided"}
    return value_of(other) + f", *{other['verdict']}*" * apart


def measured(claim: dict) -> str:
    """Our number with its unit, interval and seeds."""
    count, ends = len(claim["seeds"]), short_interval(claim)
    around = [ends + ("" if claim["method"] else " as stored")] * bool(ends)
    around += [f"{count} seed{'s' * (count > 1)}"] * bool(count)
    around += ["no interval"] * (claim["verdict"] == "no verdict" and not ends)
    return f"**{value_of(claim)}** {claim['unit']}" + f" ({', '.join(around)})" * bool(around)


def value_of(claim: dict) -> str:
    """Our number, or that it is infinite; '' where it is not known."""
    return short(claim) or ("not reached" if claim["verdict"] == "not reached" else "")


def named(claim: dict, beside: dict | None = None) -> str:
    """A claim's id in words: system, space, quantity (condition). Beside another claim, system and what differs."""
    what, _, condition = claim["id"].partition("@")
    known = beside["id"].partition("@")[0].split(".")[1:] if beside else []
    system, *parts = what.split(".")
    parts = [system, *(part for part in parts if part not in known)]
    words = [" ".join(NAMES.get(word, word) for word in part.split("_")) for part in parts]
    return ", ".join(words) + (f" ({condition.replace('_', ' ')})" if condition else "")


def verdict_of(claim: dict) -> str:
    return claim["verdict"] + (f"; selected on {claim['selected_on']}" if claim["selected_on"] else "")


def number(value: float | None, digits: int = 5) -> str:
    """So many significant digits at most, no exponent where it can be avoided; '' for None."""
    whole = value is not None and abs(value) >= min(1e4, 10**digits)
    return "" if value is None else f"{value:,.0f}" if whole else f"{value + 0.0:.{digits}g}"


def short(claim: dict, which: str = "ours") -> str:
    """Our number, or an end of its interval, with three digits, four of percentages; no more than the second digit of
    half the interval. What is short of 100 % is never rounded to it."""
    (value, low, high), digits = (claim[name] for name in (which, "low", "high")), 3 + claim["unit"].startswith("%")
    if which == "ours" and claim["unit"].startswith("%") and 99.995 <= (value or 0) < 100:
        return f"{value:.{-math.floor(math.log10(100 - value))}f}"
    if None in (value, ours := claim["ours"], low, high) or not low < high:
        return number(value, digits)
    first = [math.floor(math.log10(size)) for size in ((high - low) / 2, abs(ours) or high - low)]
    whole = all(part.is_integer() for part in (ours, low, high))
    place = 0 if whole else max(0, min(1 - first[0], digits - 1 - first[1]))
    return f"{round(value, place) + 0.0:,.{place}f}"  # no -0


def short_interval(claim: dict, told: Callable[[dict, str], str] = short) -> str:
    """Both ends of an interval, 'never' where one is infinite; '' where there is none."""
    ends = [told(claim, end) for end in ("low", "high")]
    return " to ".join(end or "never" for end in ends) if any(ends) else ""


def aim(claim: dict, name: str) -> str:
    """The paper's number, or the target with its sign, and how near is equal; '' for None."""
    sign = {"higher": "≥ ", "lower": "≤ ", "equal": "= "}[claim["better"]] if name == "target" else ""
    margin = f" (equal within {number(claim['margin'])})" if claim["margin"] else ""
    return f"{sign}{number(claim[name])}{margin}" if claim[name] is not None else ""


def comparison(*labels: str) -> str:
    """The claims that two labels both have, side by side in Markdown; a label with a slash is a folder of results."""
    first, second = map(claims_of, labels)
    both = [key for key in first if key in second]
    rows, (a, b) = [], (f"`{label}`" for label in labels)
    for key in both:
        pair = first[key], second[key]
        low = max(-math.inf if claim["low"] is None else claim["low"] for claim in pair)
        high = min(math.inf if claim["high"] is None else claim["high"] for claim in pair)
        old, new = (claim["ours"] for claim in pair)
        alike = pair[0]["unit"] == pair[1]["unit"]
        more = round(new - old, 9) or 0.0 if alike and None not in (old, new) else None  # of rounding noise neither -0
        what = f"{notebooks.number_of(key[0])}: {named(pair[0])}", *map(measured, pair)
        rows.append([*what, "+" * ((more or 0) > 0) + number(more, 3), "apart" if alike and low > high else ""])
    rest = f"Only {a} has {len(first) - len(both)} more, only {b} {len(second) - len(both)}."
    compared = table(("claim", a, b, "difference", ""), rows)
    return f"# {a} beside {b}\n\n{COMPARED}\n\n{compared}\n{rest}\n"


def claims_of(label: str) -> dict[tuple[str, str], dict]:
    """What the notebooks of a label measured, by notebook and id. UsageError where there is no such label, or a file of
    it cannot be read."""
    folder, found = Path(label) if "/" in label else paths.RESULTS / label, {}
    for file in sorted(folder.glob(FILES)):
        if not (content := read_results(file)):
            what = f"{file} cannot be read: it is damaged, or another version of this project wrote it."
            raise profiles.UsageError(f"{what} Run its notebook again, or restore the file.")
        found |= {(file.stem, claim["id"]): claim for claim in all_claims(content) if value_of(claim)}
    if not found:
        known = f"data/results has: {', '.join(labels_with_results()) or 'nothing yet'}"
        raise profiles.UsageError(f"There are no results in {folder}. {known}. A folder's path needs a slash.")
    return found


def report_text(label: str) -> str:
    """All claims, figures and run facts of one label as Markdown."""
    profile, _, changed = label.partition("+")
    lines = [f"# Results of profile {profile}" + (", parameters changed" if changed else ""), ""]
    lines += [ABOUT.format(label=label), ""]
    for notebook, result in load_results(label).items():
        lines += [f"## {notebook}", "", run_facts(result), ""]
        if found := all_claims(result):
            lines += [table(CLAIM_HEAD, [claim_row(claim) for claim in found])]
        drawn = sorted((paths.FIGURES / label).glob(f"{notebook}_*.png"))
        files = {file.stem.removeprefix(f"{notebook}_"): file.name for file in drawn}
        said = alt_texts(paths.EXECUTED / label / f"{notebook}.ipynb", files)
        lines += [line for name, file in files.items() for line in (f"![{said.get(name, name)}]({file})", "")]
        for page in sorted((paths.FIGURES / label).glob(f"{notebooks.number_of(notebook)}_*.html")):
            lines += [f"[{page.stem}]({page.name}), a page to touch: open the file in a browser", ""]
    return "\n".join(lines).rstrip() + "\n"


def alt_texts(executed: Path, figures: Collection[str]) -> dict[str, str]:
    """What an executed notebook says of its figures to readers who do not see them, by figure. A cell shows those that
    its source names, in this order."""
    said, cells = {}, []
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):  # not there, or damaged
        cells = json.loads(executed.read_bytes())["cells"]
    for cell in cells:
        shown = [output["metadata"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())]
        named = dict.fromkeys(re.findall(r'(?:"|\}_)(\w+)"', "".join(cell["source"])))
        pairs = zip([name for name in named if name in figures], shown)
        said |= {name: text for name, about in pairs if (text := about.get("image/png", {}).get("alt"))}
    return said


def all_claims(result: dict) -> list[dict]:
    """The claims of a results file, those about time last; those of an older run have no verdict but *seen once*."""
    found, older = result["claims"] + result["manifest"]["times"], "code" not in result["manifest"]
    return [
        claim | {"verdict": "no verdict"} if older and claim["verdict"] == "undecided" else claim for claim in found
    ]


def claim_row(claim: dict) -> list[str]:
    how = " over ".join(filter(None, (claim["method"], claim["over"]))) or "as stored"
    ends = short_interval(claim, lambda claim, end: number(claim[end]))
    interval = f"{ends} ({how})" if ends else ""
    paper, target, ours = aim(claim, "paper"), aim(claim, "target"), number(claim["ours"])
    seeds, printed_in = ", ".join(map(str, claim["seeds"])), claim["printed_in"] or ""
    return [f"`{claim['id']}`", paper, printed_in, target, ours, interval, claim["unit"], seeds, verdict_of(claim)]


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
    experiment = f"Data: {result['data_source']}. Parameters: {parameters or 'none'}."
    return f"{experiment} On {where}: {took}, at most {memory}; torch {manifest['versions'].get('torch', '')}{code}."
