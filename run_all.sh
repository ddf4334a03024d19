#!/usr/bin/env bash
# The door: finds or makes the Python environment, then hands over to `python -m companion` (see --help).
# LATENTNAS_PYTHON=/path/to/python uses an interpreter that has the packages already, and sets nothing up.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

fail() { printf '%s\n' "$*" >&2; exit 1; }

if [ -n "${LATENTNAS_PYTHON:-}" ]; then
    python=$LATENTNAS_PYTHON
    command -v "$python" >/dev/null || fail "LATENTNAS_PYTHON is '$python', which is not a program." \
        "Unset it, or name a Python 3.11 or newer with the packages of requirements.lock."
    export PYTHONPATH="$here/lib${PYTHONPATH:+:$PYTHONPATH}"
elif [ "${CONDA_DEFAULT_ENV:-}" = latentnas ]; then
    python=python
    export PYTHONPATH="$here/lib${PYTHONPATH:+:$PYTHONPATH}"
else
    environment=$here/.venv
    python=$environment/bin/python
    stamp=$environment/installed        # written last: without it, or after a change, all is done again
    wanted="$(cksum < "$here/requirements.lock") $(cksum < "$here/pyproject.toml") $here"
    if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
        usable='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
        for base in python3.11 python3.12 python3.13 python3 python; do
            if "$base" -c "$usable" 2>/dev/null; then break; fi
            base=
        done
        [ -n "$base" ] || fail "No Python 3.11 or newer with pip and venv was found." \
            "Install one (on Debian and Ubuntu also its venv package, python3-venv)," \
            "or make the conda environment: conda env create -f environment.yml && conda activate latentnas."
        log=$here/.venv-setup.log
        echo "setting up the Python environment in .venv with $("$base" --version) (about 3 minutes)" >&2
        rm -f "$stamp"
        pip() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
        if ! { "$base" -m venv --clear "$environment" && pip -r "$here/requirements.lock" &&
               pip --no-deps -e "$here"; } >"$log" 2>&1; then
            { grep -v '^WARNING' "$log" || true; } | tail -n 15 >&2
            fail "Setting up the Python environment failed; the last lines of $log are above." \
                "It needs the Python package index and about 2 GB of disk (6 GB with CUDA). The same command tries again."
        fi
        printf '%s' "$wanted" > "$stamp.part" && mv "$stamp.part" "$stamp"
        rm -f "$log"
    fi
fi
exec "$python" -m companion "$@"
