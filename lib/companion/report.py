"""The README's results table and figures/<profile>/REPORT.md, generated from the results files; nothing in
them is typed by hand.
"""

from dataclasses import dataclass

from companion import paths, profiles
from companion.claims import load_results
from companion.runner import in_words

MARKERS = ("<!-- results -->", "<!-- end of results -->")
PUBLISHED = ("paper", "recommended", "quick")  # profiles that the README shows, the most telling first; never smoke


@dataclass(frozen=True)
class Experiment:
    """One row of the README's table: what a notebook reproduces, and the claims that say how it went."""

    title: str
    printed_in: str  # "" where no paper has it
    notebook: str
    claims: tuple = ()


EXPERIMENTS = (
    Experiment(
        "One architecture encoded, decoded, walked and improved",
        "",
        "00_start_here",
        ("ngae.enas.reconstruction@small", "ngae.enas.ascent_gain@small"),
    ),
    Experiment("The search spaces and their tables", "", "01_search_spaces"),
    Experiment(
        "Reconstruction, validity, uniqueness, novelty",
        "NGAE Table 1",
        "02_ngae_latent_space",
        ("ngae.enas.reconstruction", "ngae.enas.validity", "ngae.enas.uniqueness", "ngae.enas.novelty"),
    ),
    Experiment(
        "Performance predicted from the latent code",
        "NGAE Fig. 4",
        "03_ngae_predictor",
        ("ngae.enas.rmse_std", "ngae.enas.pearson", "ngae.enas.ascent_gain"),
    ),
    Experiment(
        "Architectures found by ascent, against D-VAE + Bayesian optimisation",
        "NGAE Fig. 5",
        "04_ngae_architectures",
        ("ngae.enas.top3_judged", "ngae.enas.flops_saving", "ngae.enas.flops_saving_cost"),
    ),
    Experiment(
        "Seven generative models on three spaces: what they write, how smoothly, what labels say",
        "SVGe",
        "05_svge",
        (
            *(f"svgelonger.{table}.reconstruction@side_by_side" for table in ("enas", "nb201", "nb101")),
            "svgelonger.nb101.reconstruction.clean@side_by_side",
            "svge.digits-nb201.reconstruction@side_by_side",
            *(f"svge.{table}.kendall@labels_1000" for table in ("nb101", "digits-nb201")),
            *(f"graphandpaths.{table}.kendall@labels_156" for table in ("nb201", "digits-nb201")),
        ),
    ),
    Experiment(
        "Bayesian optimisation in latent spaces; ranking cells larger than any that was learned",
        "SVGe, search and extrapolation",
        "06_extrapolation",
        (
            "svgehalfchosen.nb101.top5@seven_vertices",
            "svgerandomlabels.nb101.top5@seven_vertices",
            "svgerandomlabels.nb101.kendall@seven_vertices",
            "params.nb101.top5@seven_vertices",
            "svge.nb201.cifar10.valid@500_by_50",
            "svge.digits-nb201.valid@300_by_50",
        ),
    ),
    Experiment(
        "Search by ascent of a concave accuracy",
        "CR-LSO, NAS-Bench-201 and 101",
        "07_crlso",
        (
            *(f"crlso.nb201.{name}.valid@500" for name in ("cifar10", "cifar100", "imagenet16")),
            *(f"crlso.nb201.{name}.valid@500_fewer_labels" for name in ("cifar10", "cifar100", "imagenet16")),
            *(f"crlso.nb201.{name}.met@300_ensemble" for name in ("cifar10", "cifar100", "imagenet16")),
            "crlso.digits-nb201.valid@300",
            "crlso.digits-nb201.met@150_ensemble",
        ),
    ),
    Experiment(
        "One-shot search with a latent point",
        "E2NAS",
        "08_e2nas",
        (
            *(f"e2nas.digits.gap{way}" for way in ("", "@again", "@last", "@long_list")),
            *(f"e2nas.digits.gap@{search}" for search in ("random_sharing", "random_sharing_long_list", "gdas_last")),
        ),
    ),
    Experiment(
        "Every search at equal numbers of queries",
        "",
        "09_benchmark",
        tuple(f"ensemble.nb201.{name}.queries_to_optimum" for name in ("cifar10", "cifar100", "imagenet16")),
    ),
)


def labels_with_results():
    """Folder names under data/results that hold results, changed-parameter runs included."""
    return sorted(path.name for path in paths.RESULTS.glob("*") if has_results(path.name))


def has_results(label):
    return any((paths.RESULTS / label).glob("*.json"))


def renew(labels):
    """Write REPORT.md of each label that has results; and the README's table, if it is the project's own
    results that changed.
    """
    for label in labels:
        if has_results(label):
            write_if_changed(paths.FIGURES / label / "REPORT.md", report_text(label))
    readme = paths.ROOT / "README.md"
    if paths.OUTPUT == paths.ROOT and readme.exists():
        write_if_changed(readme, with_table(readme.read_text(encoding="utf-8")))


def write_if_changed(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with paths.atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


# ---------------------------------------------------------------- README


def with_table(readme):
    """The README's text with the table between its markers renewed."""
    before, found, rest = readme.partition(MARKERS[0])
    _, found_end, after = rest.partition(MARKERS[1])
    if not (found and found_end):
        raise profiles.UsageError(
            f"README.md has lost its markers {MARKERS[0]} and {MARKERS[1]}, between which the results "
            "table is generated. "
            "Put them back."
        )
    return f"{before}{MARKERS[0]}\n{readme_table()}{MARKERS[1]}{after}"


def readme_table():
    """One row per experiment; cells stay empty where nobody has run it."""
    results = {profile: load_results(profile) for profile in PUBLISHED}
    rows = []
    for experiment in EXPERIMENTS:
        runs = {
            profile: results[profile][experiment.notebook]
            for profile in PUBLISHED
            if experiment.notebook in results[profile]
        }
        shown = next(iter(runs), None)
        option = f" --profile {shown}" if shown not in (None, "quick") else ""
        rows.append(
            [
                experiment.title,
                experiment.printed_in,
                f"[{experiment.notebook}](notebooks/{experiment.notebook}.ipynb)",
                f"`./run_all.sh --only {experiment.notebook[:2]}{option}`",
                times(runs, "cpu"),
                times(runs, "cuda"),
                f"[{shown}](figures/{shown}/REPORT.md): {outcome(experiment, runs[shown])}" if shown else "",
            ]
        )
    return table(
        ["experiment", "in the paper", "notebook", "command", "time, 2 CPU cores", "time, GPU", "result"], rows
    )


def times(runs, device):
    """'quick 2 min, paper 1 h 5 min': what the runs on this kind of device took, training included."""
    parts = []
    for profile in reversed(runs):
        manifest = runs[profile]["manifest"]
        if manifest["device"].startswith(device):
            parts.append(f"{profile} {in_words(manifest['wall_seconds'] + manifest['loaded_seconds'])}")
    return ", ".join(parts)


def outcome(experiment, result):
    """The experiment's claims in short, each with the paper's value where there is one.

    A claim goes by the last part of its id, or by all of it where another has the same last part.
    """
    shown = [claim for claim in result["claims"] if claim["id"] in experiment.claims and claim["ours"] is not None]
    short = [claim["id"].rpartition(".")[2] for claim in shown]
    parts = []
    for claim, name in zip(shown, short):
        name = name if short.count(name) == 1 else claim["id"]
        paper = f" (paper {number(claim['paper'])})" if claim["paper"] is not None else ""
        parts.append(f"{name} {number(claim['ours'])} {claim['unit']}{paper}")
    return "; ".join(parts) or f"{len(result['claims'])} numbers in the report"


def number(value):
    """Five significant digits at most, no exponent where it can be avoided; '' for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


# ---------------------------------------------------------------- REPORT.md


def report_text(label):
    """All claims, figures and run facts of one label as Markdown."""
    results = load_results(label)
    profile, _, changed = label.partition("+")
    lines = [
        f"# Results of profile {profile}" + (", parameters changed" if changed else ""),
        "",
        "Generated from `data/results/"
        + label
        + "`; the number's judgement is against the target where one is set, else against the paper.",
        "Intervals are at 95 %.",
        "",
    ]
    for notebook, result in results.items():
        lines += [f"## {notebook}", "", run_facts(result), ""]
        if result["claims"]:
            lines += [
                table(
                    ["claim", "paper", "printed in", "target", "ours", "95 % interval", "unit", "seeds", "verdict"],
                    [claim_row(claim) for claim in result["claims"]],
                )
            ]
        for figure in sorted((paths.FIGURES / label).glob(f"{notebook}_*.png")):
            lines += [f"![{figure.stem}]({figure.name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def claim_row(claim):
    interval = f"{number(claim['low'])} to {number(claim['high'])}" if claim["low"] is not None else ""
    seeds = ", ".join(str(seed) for seed in claim["seeds"])
    return [
        f"`{claim['id']}`",
        number(claim["paper"]),
        claim["printed_in"] or "",
        number(claim["target"]),
        number(claim["ours"]),
        interval,
        claim["unit"],
        seeds,
        claim["verdict"],
    ]


def run_facts(result):
    """One line: data, parameters, machine, time, memory, commit."""
    manifest = result["manifest"]
    parameters = ", ".join(f"{name} = {value}" for name, value in result["parameters"].items())
    took = in_words(manifest["wall_seconds"])
    if manifest["loaded_seconds"]:
        took += f" (with trained checkpoints loaded; training them took {in_words(manifest['loaded_seconds'])})"
    memory = ", ".join(f"{megabytes:,} MB ({device})" for device, megabytes in manifest["peak_memory_mb"].items())
    git = manifest["git"]
    code = f"; commit {git['commit'][:10]}{' with changes' if git['changed'] else ''}" if git else ""
    return (
        f"Data: {result['data_source']}. Parameters: {parameters or 'none'}. On {manifest['device']}, "
        f"{manifest['cpu_cores']} CPU cores: {took}, "
        f"at most {memory}; torch {manifest['versions'].get('torch', '')}{code}."
    )
