"""What one can ask of ./run_all.sh. Imports nothing that has to be installed: help comes before the set-up."""

import argparse

EXAMPLES = """\
commands:
  run        (default) run the notebooks that are out of date, then renew the reports
  test       run the tests, three files at a time; what follows goes to pytest, for example: ./run_all.sh test -k claims
  figures    draw all figures again from stored results, without training
  fetch      download the public tables, for machines that will have no internet;
             with --profile the weights of its trainings, where they have been released
  lab        open JupyterLab on working copies of the notebooks, in notebooks/mine/; 'lab week1' opens that one first
  site       build the notebooks as run, with figures, reports and glossary, as pages to read offline, in site/
  compare    print the numbers of two labels side by side: ./run_all.sh compare quick recommended
  release    pack the trained weights of a profile for others to fetch, and list them in data/weights.json
  bench      measure how fast this machine trains, decodes and searches (notebook 10), and print it

examples:
  ./run_all.sh                                  every notebook, profile quick
  ./run_all.sh --profile paper --dry-run        what would run at the published sizes, and for how long
  ./run_all.sh --only 02 --only 03              two notebooks, and what they depend on
  ./run_all.sh --only 02 -p seed=1              one parameter changed: data/results/quick+<hash>/

A run that was interrupted goes on where it stopped when the same command is given again.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of those that have options; the other commands take their arguments as they are."""
    about, layout = "Rerun the notebooks of this companion.", argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser("run_all.sh", description=about, epilog=EXAMPLES, formatter_class=layout)
    commands = ("run", "test", "figures", "fetch", "lab", "site", "compare", "release", "bench")
    add = result.add_argument
    add("command", nargs="?", default="run", choices=commands, metavar="command", help="see below")
    add("--profile", help="size of the run: smoke, quick (default), recommended or paper")
    several = {"action": "append", "default": []}
    add("--only", **several, metavar="NOTEBOOK", help="a notebook's name or its beginning; may be repeated")
    text = "set a parameter declared in a selected notebook; may be repeated"
    add("-p", **several, dest="parameters", metavar="NAME=VALUE", help=text)
    text = "trainings and notebooks to run at the same time (default: as many as there are cores, at most 8)"
    add("--jobs", type=int, metavar="N", help=text)
    add("--dry-run", action="store_true", help="say what would run, and run nothing")
    return result


if __name__ == "__main__":
    parser().print_help()
