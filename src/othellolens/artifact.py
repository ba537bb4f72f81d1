"""A saved thing: a folder of config.json, safetensors files and where it came from."""

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .errors import InputError

CONFIG = "config.json"
_FAULTS, _LOCK = 40, ".lock"
_FULL = 1 << 16
# Bytes: a disk with less room than this is full.


def refuse_existing(path: Path, *, unless: str | None = None) -> None:
    """Raise where an output would overwrite something.

    Args:
        path: what is to be written.
        unless: the name of a file by which a folder is known that may be replaced.

    Raises:
        InputError: `path` exists, and holds no such file; or it would lie below a file.
    """
    refuse_below(path)
    if path.exists() and unless is None:
        raise InputError(f"{path} exists: choose another name or remove it first")
    if path.exists() and unless is not None and not (path / unless).is_file():
        raise InputError(f"{path} exists and holds no {unless}: it is not replaced")


def refuse_below(path: Path) -> None:
    """Raise where an output would lie below a file.

    Raises:
        InputError: it would.
    """
    above = next((folder for folder in path.absolute().parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError(f"{path} would lie in {above}, which is a file: choose another name")


def is_full(error: OSError) -> bool:
    """Whether there is no room on a disk, or none left for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_that_may_fill_up(kept: Callable[[], str]) -> Generator[None]:
    """Say in one line that the disk is full, and what is kept.

    Raises:
        InputError: it is, with what `kept` says then.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise InputError(f"the disk is full: {kept()}") from None
        raise


@contextmanager
def in_sole_use(folder: Path) -> Generator[None]:
    """Let no other process do the same in this folder meanwhile.

    Raises:
        InputError: another one is at it.
    """
    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder} is being trained by another process: wait for it, or stop it first"
        ) from None
    try:
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def sweep_up(folder: Path) -> None:
    """Remove what `write_file` was writing in this folder when its process was killed."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, replace: str | None = None) -> Generator[Path]:
    """A temporary folder that becomes `path` in one step if the block ends well.

    Args:
        path: where the folder shall be.
        replace: the name of a file by which a folder of the same kind is known; such a folder is
            replaced at the end. By default nothing is.

    Raises:
        InputError: `path` exists and must not be replaced.
    """
    refuse_existing(path, unless=replace)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = work.with_name(f"{work.name}.old")
    try:
        yield work
        refuse_existing(path, unless=replace)
        work.chmod(0o755)
        if path.exists():
            path.rename(old)
        work.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file in one step: `write` gets a temporary path, which is then renamed to `path`.

    Others may read it as any file that the user makes: safetensors alone would let nobody.

    Raises:
        OSError: what the system says; that the disk is full, also where `write` hides it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        work.touch()
        mode = work.stat().st_mode
        write(work)
        work.chmod(mode)
        work.replace(path)
    except (RuntimeError, SafetensorError) as error:
        # torch and safetensors lose the system's own words on the way.
        if f"os error {errno.ENOSPC}" in str(error) or shutil.disk_usage(path.parent).free < _FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise
    finally:
        work.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """One JSON document, in one step."""
    text = json.dumps(value, indent=2) + "\n"
    write_file(path, lambda work: work.write_text(text))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: no such file, not JSON, or not an object.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: is {path.parent} the folder that you mean?")
    try:
        value = json.loads(path.read_text())
    except RecursionError:
        raise InputError(f"{path} is nested too deep: restore it or make it anew") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}): restore it or make it anew") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object: restore it or make it anew")
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, in one step."""
    whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_file(path, lambda work: save_file(whole, work))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        InputError: no such file, empty, truncated or not safetensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: is {path.parent} the folder that you mean?")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or no safetensors file ({error})") from None


def check_tensors(what: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare names and shapes and list every difference, of very many the first.

    Raises:
        InputError: a key is missing or unknown, or a shape differs.
    """
    faults = [f"{key} is missing" for key in expected if key not in found]
    faults += [f"{_one_line(key)} is unknown" for key in found if key not in expected]
    faults += [
        f"{key} is {list(found[key].shape)}, not {list(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    more = len(faults) - _FAULTS
    if faults:
        rest = f"; and {more} more" if more > 0 else ""
        raise InputError(f"{what} does not fit: {'; '.join(faults[:_FAULTS])}{rest}")


def _one_line(key: str) -> str:
    return key if key.isprintable() else repr(key)


def sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def provenance() -> dict[str, str]:
    """Versions and machine, as saved beside every artifact."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }
