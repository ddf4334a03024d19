#!/usr/bin/env bash
# The door: finds or makes the Python environment, then hands over to `python -m companion` (see --help).
# LATENTNAS_PYTHON=/path/to/python uses an interpreter that has the packages already, and sets nothing up.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"      # called with sh
set -euo pipefail
arguments=$* child=
fail() { printf '%s\n' "$*" >&2; exit 1; }
watch() {       # a process group of its own, which a signal to this script alone ends too
    set -m; "$@" & child=$!; set +m
    local status=0; wait "$child" || status=$?
    child=; return "$status"
}
interrupted() {
    trap '' INT TERM HUP
    { [ -z "$child" ] || kill -- "-$child" && wait "$child"; } 2>/dev/null || true
    printf '\nInterrupted: %s. The same command goes on from here.\n' "run_all.sh${arguments:+ $arguments}" >&2
    exit "$1"
}
trap 'interrupted 129' HUP
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
stamp=$here/.venv/installed             # written last: without it, or after a change, all is done again
wanted=$(cksum < "$here/requirements.lock")   # one at a time: of two bash 5.2 takes a signal for a syntax error
wanted+=" $(cksum < "$here/pyproject.toml") $here"
supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

is_made() { [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; }
pip() { "$python" -m pip "$@" --quiet --disable-pip-version-check; }

braces() {      # setuptools cannot build below a path with braces, so what has no wheel is built elsewhere
    if [[ $here != *[{}]* ]]; then return; fi
    local elsewhere; elsewhere=$(mktemp -d)
    "$base" -m venv "$elsewhere" && PIP_USE_PEP517=1 python=$elsewhere/bin/python pip wheel --no-deps \
        -w "$elsewhere/wheels" "$(grep ^connection-pool= "$here/requirements.lock")" &&
        pip install "$elsewhere"/wheels/*.whl && rm -rf "$elsewhere"
}

set_up() {
    export PYTHONSAFEPATH=1             # a random.py of the user's is nobody's module
    local base log=$here/.venv-setup.log lock=$here/data/state/run.lock
    for base in python3.11 python3.12 python3.13 python3 python ""; do
        if [ -n "$base" ] && "$base" -c "import venv, ensurepip; $supported" 2>/dev/null; then break; fi
    done
    [ -n "$base" ] || fail "No Python 3.11 to 3.13 with pip and venv was found." \
        "Install one (on Debian and Ubuntu also its venv package, python3-venv)," \
        "or make the conda environment: conda env create -f environment.yml && conda activate latentnas."
    { : >> "$log"; } 2>/dev/null || fail "The Python environment cannot be set up: $here cannot be written to." \
        "Name a Python that has the packages with LATENTNAS_PYTHON, and a folder for results with LATENTNAS_OUTPUT."
    exec 9>> "$log"                     # of two first calls one waits here for the other
    "$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || true
    if is_made; then return; fi
    [ ! -e "$lock" ] ||
        "$base" -c 'import fcntl; fcntl.flock(0, fcntl.LOCK_SH | fcntl.LOCK_NB)' < "$lock" 2>/dev/null ||
        fail "The requirements have changed, and a run still uses .venv. Wait until it has finished, or end it."
    echo "setting up the Python environment in .venv with $("$base" --version) (about 3 minutes)" >&2
    rm -f "$stamp"
    if ! { "$base" -m venv --clear "$here/.venv" && braces && pip install -r "$here/requirements.lock"; } > "$log" 2>&1
    then
        { grep -v '^WARNING' "$log" || true; } | tail -n 15 >&2
        fail "Setting up the Python environment failed; the last lines of $log are above." \
            "It needs the Python package index and about 2 GB of disk (6 GB with CUDA). The same command tries again."
    fi
    for base in "$here"/.venv/lib/python3.*/site-packages; do echo "$here/lib" > "$base/latentnas.pth"; done
    printf '%s' "$wanted" > "$stamp.part" && mv "$stamp.part" "$stamp"
}

state=${LATENTNAS_OUTPUT:-$here}/data/state
[[ $state = /* ]] || state=$PWD/$state
[ -w "${HOME:-}" ] || export HOME=$state/home PIP_NO_CACHE_DIR=1    # a user without a home folder,
export USER="${USER:-$(id -u)}"                                     # or without a name

if [ -n "${LATENTNAS_PYTHON:-}" ]; then
    python=$LATENTNAS_PYTHON
    remedy="Unset LATENTNAS_PYTHON, or name a Python 3.11 to 3.13 with the packages of requirements.lock."
    command -v "$python" >/dev/null || fail "LATENTNAS_PYTHON is '$python', which is not a program. $remedy"
    watch "$python" -c "$supported" || fail "LATENTNAS_PYTHON is '$python', which is not Python 3.11 to 3.13. $remedy"
else                                    # other packages have no place in an environment of our own
    unset PYTHONPATH PYTHONHOME
    export PYTHONNOUSERSITE=1
    remedy="Renew the environment: conda env update -f environment.yml"
    python=python
    if [ "${CONDA_DEFAULT_ENV:-}" != latentnas ]; then
        python=$here/.venv/bin/python
        if ! is_made; then
            case $arguments in -h | --help) (cd "$here/lib" && python3 -m companion.arguments) 2>/dev/null && exit ;; esac
            watch set_up
        fi
        remedy=
    fi
fi

# This checkout comes before any other that is installed, and no settings or caches outside of it have a say.
export PYTHONPATH=$here/lib${PYTHONPATH:+:$PYTHONPATH} LATENTNAS_ROOT=$here
export LATENTNAS_REMEDY=$remedy XDG_CACHE_HOME=$state/cache MPLCONFIGDIR=$state/matplotlib
# A signal that comes while Python starts waits until companion can answer it.
blocked=(env --block-signal=INT,TERM,HUP)
"${blocked[@]}" true 2>/dev/null || blocked=(env)      # not on macOS
exec "${blocked[@]}" "$python" -P -m companion "$@"
