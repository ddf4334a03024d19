"""Where things lie, and how a file is written so that nothing half-written is ever seen.

Two environment variables move things, both read once at import:
LATENTNAS_ROOT is the project (default: the folder this package was checked out in);
LATENTNAS_OUTPUT is where runs write (default: the project). The tests point it at a temporary folder.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(os.environ.get("LATENTNAS_ROOT") or Path(__file__).resolve().parents[2]).resolve()
OUTPUT = Path(os.environ.get("LATENTNAS_OUTPUT") or ROOT).resolve()

DATA = ROOT / "data"
BUNDLED = DATA / "bundled"  # small tables that this project measured itself, committed
CACHE = DATA / "cache"  # downloads: shared by all outputs, git-ignored

CHECKPOINTS = OUTPUT / "data" / "checkpoints"  # git-ignored


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    Readers see the old file or the new one, never a part: the rename stays within one folder. The temporary
    name keeps the suffix, so that writers that look at it (`savefig`, `to_csv`) behave as with the final
    name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes the file private
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
