"""The figure of notebook 11, how well each method predicts the labels of two ENAS tables, and its findings in words."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from companion.figures import StoredFigure
from companion.figures.words import listed
from latentnas.plots.style import GREY, PALE, colours_of, letter, new_figure, rows_of, styled

NOTEBOOK = "11_enas_labels"
KINDS = {  # of methods: words for the legend, marker
    "plain": ("plain inputs (black: boosting)", "s"),
    "codes": ("encoders, a colour each (hollow: untrained)", "o"),
    "published": ("published", "D"),
}
LINES = {"boosting, flags": "-", "boosting, flags + operations": "--"}  # the baselines to pass
BASELINES = {
    "boosting": "boosted trees on plain inputs",
    "same process": "the same process on plain inputs",
    "untrained": "the untrained encoder",
}
TOLD_BOTH = "boosting, told both"  # where operations do not count, boosting of `BASELINES` is told the flags alone


@styled
def method_errors(errors: pd.DataFrame) -> Figure:
    """The test error of every method, a panel a test set, with two plain methods as lines to pass. One axis for all.
    Encoders and boosting have their colours, other methods are grey.

    Columns, one row a method and test set: panel (words), method, kind (of `KINDS`), rmse_std, low, high (the ends of
    its 95 % interval, empty where there is none).
    """
    errors = rows_of(errors, "panel", "method", "kind", "rmse_std", "low", "high")
    kinds = [kind for kind in KINDS if kind in errors.kind.unique()]
    names = list(dict.fromkeys(name for kind in kinds for name in errors.method[errors.kind == kind]))
    panels = list(errors.groupby("panel", sort=False))
    colours = colours_of(name.split(",")[0] for name in errors.method[errors.kind == "codes"])
    sources = {"public" if panel.startswith("public") else "bundled": None for panel, _ in panels}
    shape = {"columns": len(panels), "sharex": True, "sharey": True, "gid": " and ".join(sources)}
    figure, axes = new_figure(0.9 + 0.16 * len(names), **shape)
    for ax, (_, rows) in zip(axes[0], panels):
        known = rows.set_index("method")["rmse_std"]
        for method, style in LINES.items():
            ax.axvline(known[method], color=colours["boosting"], linestyle=style, linewidth=0.9, label=method, zorder=1)
        for row in rows.itertuples():
            place, name, untrained = names.index(row.method), row.method.split(",")[0], row.method.endswith("untrained")
            look = {"color": colours.get(name, GREY), "zorder": 3}
            ax.hlines(place, row.low, row.high, linewidth=1.3, **look)
            ax.plot(row.rmse_std, place, KINDS[row.kind][1], markersize=3.4, mfc="w" if untrained else None, **look)
        ax.set(xscale="log", xlabel="RMSE (train st. dev., log)" if len(panels) < 4 else "RMSE (st. dev., log)")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 7) if len(panels) == 1 else (1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="y", color=PALE, linewidth=0.3)
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    letter(axes, [panel.replace(" (", "\n(") if len(panels) > 3 else panel for panel, _ in panels])
    handles, words = axes[0, 0].get_legend_handles_labels()
    handles += [Line2D([], [], color=GREY, marker=KINDS[kind][1], markersize=3.4, ls="none") for kind in kinds]
    handles.append(Line2D([], [], color=GREY, linewidth=1.3, marker="o", markersize=3.4))
    words += [*(KINDS[kind][0] for kind in kinds), "bar: 95 % interval"]
    title = "in brackets: how many test architectures"
    figure.legend(handles, words, loc="outside upper left", ncols=3, title=title, alignment="left")
    return figure


def labels_in_words(audits: pd.DataFrame) -> str:
    """What labels depend on. A column a table; rows: most labels in a set, variance within sets, test labels known"""
    one = audits.columns[audits.loc["most labels in a set"] == 1]
    several = audits.columns.difference(one, sort=False)
    said = []
    if len(one):
        known = audits.loc["test labels known", one[0]]
        said.append(
            f"in `{one[0]}` they depend on the flags alone, and a look-up knows {known:.3g} % of the test labels."
        )
    if len(several):
        within = audits.loc["variance within sets", several].dropna()
        shares = listed(f"{value:.3g} %" for value in within)
        left = f": {shares} of their variance {'is' if len(within) == 1 else 'are'} left among equal flags" * bool(
            shares
        )
        said.append(f"{'In' if said else 'in'} {listed(f'`{name}`' for name in several)} operations change them{left}.")
    return " ".join(said)


def orders_in_words(orders: pd.DataFrame) -> str:
    """Whether the public order of the encoders holds on other labels. A sentence a row: panel, tau, p, clear (bool)."""
    said = []
    for row in orders.itertuples():
        verdict = (
            "undecided" if not row.clear else "reversed beyond chance" if row.tau < 0 else "it holds beyond chance"
        )
        numbers = f"Kendall's tau with it is {row.tau:.2f} (p {row.p:.2g}: {verdict})"
        found = numbers if pd.notna(row.tau) else "it cannot be compared"
        said.append(f"{'On' if said else 'on'} *{row.panel}* {found}.")
    return " ".join(said)


def errors_in_words(tests: pd.DataFrame) -> str:
    """Which encoders have more error than a baseline, and which less: bad news first, at most two sentences.

    Columns: panel (words), method, lead (the baseline's error minus its own), encoder (ahead, behind or undecided), a
    row a comparison.
    """
    behind, ahead = (_where(tests, word) for word in ("behind", "ahead"))
    by = {word: _amount(tests.lead[tests.encoder == word]) for word in ("behind", "ahead")}
    undecided = -tests.lead[~tests.encoder.isin(["behind", "ahead"])]  # more error
    rest = f"he others have {_at_most(undecided)} (undecided)" * bool(len(undecided))
    if behind:
        least = f" (by at least {tests.lead[tests.encoder == 'ahead'].min():.3f})" * bool(ahead)
        less = f" Less {'only ' * bool(ahead)}for {ahead or 'none'}{least}{f'; t{rest}' * bool(rest)}."
        return f"more error for {behind}, by {by['behind']}.{less * bool(ahead or rest)}"
    if ahead:
        return f"less error {'only ' * bool(rest)}for {ahead}, by {by['ahead']}.{f' T{rest}.' * bool(rest)}"
    everywhere = f"on *{tests.panel.iloc[0]}*" if tests.panel.nunique() == 1 else "on all test sets"
    several = tests.method.nunique() > 1
    subject = "they have" if several else f"{tests.method.iloc[0]} has"
    return f"{subject} {_at_most(undecided)} error {everywhere} ({'all ' * (len(tests) > 1)}undecided)."


def _amount(leads: "pd.Series[float]") -> str:
    return " to ".join(dict.fromkeys(f"{value:.3f}" for value in sorted((leads.abs().min(), leads.abs().max()))))


def _at_most(more: "pd.Series[float]") -> str:
    """How far errors are from a baseline's, and on which side."""
    side = "more" if more.min() >= 0 else "less" if more.max() <= 0 else "more or less"
    return f"{'up to ' * (len(more) > 1)}{more.abs().max():.3f} {side}"


def _where(tests: pd.DataFrame, verdict: str) -> str:
    """The encoders with this verdict and the test sets where they have it; test sets with the same ones together."""
    places: dict[tuple[str, ...], list[str]] = {}
    for panel, rows in tests.groupby("panel", sort=False):
        names = tuple(rows.method[rows.encoder == verdict])
        every = len(names) == len(rows) > 2
        if names:
            places.setdefault(("all",) if every else names, []).append(f"*{panel}*")
    count = tests.panel.nunique()
    return ", and for ".join(
        f"{listed(names)} on {'every test set' if 1 < count == len(panels) else listed(panels)}"
        for names, panels in places.items()
    )


def found_in_words(
    audits: pd.DataFrame, errors: pd.Series, orders: pd.DataFrame, tests: pd.DataFrame, trainings: int
) -> list[str]:
    """What a run found, a point each, five at most.

    Args:
        audits: As `labels_in_words` takes them.
        errors: Of the methods on `digits-enas`, by name.
        orders: As `orders_in_words` takes them; may have no row.
        tests: Encoders that saw no label: panel, method, against (of `BASELINES`, or `TOLD_BOTH`), lead, encoder; may
            have no row.
        trainings: How many of each encoder; under three decide nothing.
    """
    said = [f"**Labels:** {labels_in_words(audits)}"]
    if len(orders):
        said.append(f"**Public order of the encoders:** {orders_in_words(orders)}")
    if trainings < 3:
        told, flags = (f"{errors[f'boosting, {inputs}']:.3f}" for inputs in ("flags + operations", "flags"))
        few = {1: "one training", 2: "two trainings"}[trainings]
        plain = (
            f"**Plain methods:** on `digits-enas`, boosted trees have an error of {told} from flags and operations, "
        )
        plain += f"and of {flags} from flags alone."
        if (own := "NGAE, its own predictor") in errors:
            plain += f" NGAE's predictor, which saw the same labels, has {errors[own]:.3f} ({few}: undecided)."
        said.append(plain)
        return [*said, *codes_in_words(errors, tests.method.unique(), few)]
    for against, words in BASELINES.items():
        if len(rows := tests[tests.against == against]):
            told = tests[tests.against == TOLD_BOTH] if against == "boosting" else tests[:0]
            more = f" On public labels, against trees told operations too: {errors_in_words(told)}" if len(told) else ""
            said.append(f"**Codes against {words}:** {errors_in_words(rows)}{more}")
    return said


def codes_in_words(errors: pd.Series, names: Sequence[str], few: str) -> list[str]:
    """The errors of codes on `digits-enas` where too few trainings allow a verdict, in at most two points.

    Args:
        errors: Of the methods, by name.
        names: Of the encoders that saw no label; may be none.
        few: How many trainings each encoder has, in words.
    """
    if not len(names):
        return []
    own = errors[names].sort_values(ascending=False)
    ends = " to ".join(f"{own[name]:.3f} ({name})" for name in dict.fromkeys(own.index[[0, -1]]))
    plain = f"The same process has {errors['sparse GP, flags + operations']:.3f} on flags and operations."
    pairs = [
        f"{'raises' if own[name] > old else 'lowers'} the error of {name}'s codes from {old:.3f} to {own[name]:.3f}"
        for name in own.index
        if pd.notna(old := errors.get(f"{name}, untrained"))
    ]
    said = f"**Codes without labels:** on `digits-enas` their error is {ends}; {few} of each encoder: undecided."
    changed = f"**Trained against untrained:** training {listed(pairs)} ({few} of each: undecided)."
    return [f"{said} {plain}", *[changed] * bool(pairs)]


def with_interval(row: NamedTuple) -> str:
    """An error with its interval, where it has one. Fields: rmse_std, low, high."""
    return f"{row.rmse_std:.3f}" + (f" ({row.low:.3f} to {row.high:.3f})" if pd.notna(row.low) else "")


def errors_to_beat(errors: pd.DataFrame, unlabelled: Sequence[str]) -> pd.DataFrame:
    """A row a test set: the errors of the plain baselines, of the best codes of the encoders that saw no label, trained
    and untrained, and of NGAE's codes. Columns as in `method_errors`, and table."""
    found, kinds = [], {"trained": unlabelled, "untrained": [f"{name}, untrained" for name in unlabelled]}
    for panel, rows in errors.groupby("panel", sort=False):
        at, trees = rows.set_index("method"), "flags" if rows.table.iloc[0] == "enas" else "flags + operations"
        said = dict(zip(rows.method, map(with_interval, rows.itertuples())))
        named = {"test set": panel, "boosting": said[f"boosting, {trees}"]}
        named["Gaussian process on flags + operations"] = said["sparse GP, flags + operations"]
        for kind, names in kinds.items():
            if len(tried := at.rmse_std[at.index.isin(names)]):
                best = tried.idxmin()
                of = f"best of {len(tried)} {kind}" if len(tried) > 1 else kind
                named[f"codes without labels, {of}"] = f"{best.removesuffix(', untrained')} {said[best]}"
        found.append(named | {"codes of NGAE, which saw labels": said.get("NGAE", "")})
    return pd.DataFrame(found)


FIGURES: dict[str, StoredFigure] = {"errors": (("errors",), method_errors)}
