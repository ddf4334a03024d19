"""Where things lie, and how a file is written so that nothing half-written is ever seen.

Two environment variables move things, both read once at import: LATENTNAS_ROOT is the project (default: the folder
this package was checked out in), LATENTNAS_OUTPUT is where runs write (default: the project). Where the package was
installed from a wheel there is no project: bundled tables and notebooks lie beside the modules, and LATENTNAS_OUTPUT
is the current folder by default.
"""

import contextlib
import errno
import glob
import itertools
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2]
PROJECT = os.environ.get("LATENTNAS_ROOT") or (_FOLDER if (_FOLDER / "run_all.sh").exists() else None)

OUTPUT = Path(os.environ.get("LATENTNAS_OUTPUT") or PROJECT or ".").resolve()
ROOT = Path(PROJECT or OUTPUT).resolve()

CACHE = ROOT / "data" / "cache"  # downloads: shared by all outputs, git-ignored
# Small tables that this project measured itself, committed; pyproject.toml puts them into the wheel.
BUNDLED = ROOT / "data" / "bundled" if PROJECT else Path(__file__).resolve().with_name("bundled")

CHECKPOINTS = OUTPUT / "data" / "checkpoints"  # git-ignored
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk, a quota or a limit


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    Readers see the old file or the new one, never a part, even after a power cut. The temporary name keeps the suffix,
    which some writers look at; those that killed processes left are removed after a day. A full disk is an OSError that
    names `path`, whatever the writer raises.
    """
    path = Path(path)
    folders = [path.parent, *(folder.parent for folder in path.parents if not folder.exists())]
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.stem}.partial-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        with contextlib.suppress(OSError):  # another process was faster, or the file is another user's
            if time.time() - left.stat().st_mtime > 24 * 3600:
                left.unlink()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes the file private
        _sync(temporary)
        os.replace(temporary, path)
        for folder in folders:
            with contextlib.suppress(OSError):  # some network file systems cannot do this for a folder
                _sync(folder)
    except Exception as error:
        told = re.search(r"os error (\d+)|requested and \d+ written", str(error))  # by safetensors and NumPy
        cause, code = error, int(told[1] or errno.ENOSPC) if told else getattr(error, "errno", None)
        while code is None and (cause := cause.__cause__ or cause.__context__):  # what a writer raised as it cleaned up
            code = cause.errno if getattr(cause, "errno", None) in FULL else None
        if code is None or getattr(error, "filename", None):
            raise
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def put_aside(path: Path) -> str:
    """Rename what is damaged to the first free name beside it, which is returned."""
    names = (f"{path.name}.damaged{number or ''}" for number in itertools.count())
    return path.rename(next(path.with_name(name) for name in names if not path.with_name(name).exists())).name


def _sync(path: Path) -> None:
    """Wait until the file, or the names in the folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
