"""Files from elsewhere: fetched once into a cache, whole and checked.

A download that breaks off goes on where it stopped. What arrives is compared with the hash that the
caller knows, else with the one that the hub gives for its large files.
"""

import hashlib
import os
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock
from tqdm import tqdm

from .errors import InputError

_HUB = "https://huggingface.co"
_SECONDS = 30
_PIECE = 1 << 20
_ANEW = "delete it, and it is fetched anew"
_OTHER = "run again; if it stays so, another file is served there"


class NotThereError(InputError):
    """The server has no such file."""


def cache_folder() -> Path:
    """Where fetched files lie: $OTHELLOLENS_CACHE, else othellolens in the user's cache folder."""
    if own := os.environ.get("OTHELLOLENS_CACHE"):
        return Path(own)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "othellolens"


def hub_file(repo: str, file: str, *, revision: str = "main", sha256: str | None = None) -> Path:
    """A file of a Hugging Face repository, fetched when the cache lacks it.

    Args:
        repo: "user/repo".
        file: its path in the repository.
        revision: branch, tag or commit.
        sha256: of the file's bytes, in hexadecimal, where it is known.

    A file that the cache holds is not asked for again, though the branch may have moved on:
    delete it, or name another revision. $HF_ENDPOINT names another server; $HF_HUB_OFFLINE=1 allows
    the cache alone. You are known by the token of `hf auth login` or $HF_TOKEN.

    Raises:
        NotThereError: the hub has no such file.
        InputError: as in `fetch`.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    try:
        server = urlsplit(endpoint).netloc.replace(":", "_")
    except ValueError as error:
        raise InputError(f"HF_ENDPOINT {endpoint!r} is no address ({error})") from None
    path = cache_folder() / "hub" / server / repo / revision / file
    url = f"{endpoint}/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(file)}"
    token = None if path.is_file() else _token()
    return fetch(url, path, sha256=sha256, token=token)


def fetch(url: str, path: Path, *, sha256: str | None = None, token: str | None = None) -> Path:
    """`path`, fetched from `url` if it is not there yet. Shows a bar on a terminal.

    Of several processes that want one file, one fetches it and the others wait.

    Args:
        url: where it lies.
        path: where it shall lie here.
        sha256: of its bytes, in hexadecimal, where it is known.
        token: shown to the server of `url`, and to none that it refers to.

    Raises:
        NotThereError: the server has no such file.
        InputError: offline, unreachable, refused, broken off (a second call goes on), the file is
            not the one with this hash, or `path` cannot be written.
    """
    if path.is_file():
        _check_hash(path, sha256, _ANEW)
        return path
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise InputError(
            f"HF_HUB_OFFLINE is set and {path.name} was never fetched: unset it, or get {url}"
            f" elsewhere and put it at {path}"
        )
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url} is no address of the web: set HF_ENDPOINT to https://...")
    part = path.with_name(f".{path.name}.part")
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if path.is_file():  # another process was first
                _check_hash(path, sha256, _ANEW)
                return path
            told = _download(url, part, token)
            try:
                _check_hash(part, sha256 or told, _OTHER)
            except InputError:
                _forget(part)
                raise
            part.replace(path)
            _forget(part)
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}): make room or set OTHELLOLENS_CACHE"
            " to another folder"
        ) from None
    return path


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _download(url: str, part: Path, token: str | None, *, anew: bool = False) -> str | None:
    """Bring `part` to its full length; the sha256 that the server tells, if it does."""
    if anew:
        _forget(part)
    redirects = _Redirects()
    request = Request(url, headers={"User-Agent": "othellolens", **_resume(part)})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with build_opener(redirects).open(request, timeout=_SECONDS) as answer:
            _receive(answer, part, url)
            return _as_hash(redirects.linked or answer.headers.get("ETag"))
    except HTTPError as error:
        if error.code == 416 and not anew:  # what we hold is not the beginning of what is there
            return _download(url, part, token, anew=True)
        raise _refusal(url, error.code) from None
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(
            f"cannot fetch {url} ({reason}): look at the connection and run again"
            " (HF_ENDPOINT names another server)"
        ) from None


def _receive(answer: HTTPResponse, part: Path, url: str) -> None:
    begun = part.stat().st_size if answer.status == 206 else 0
    length = answer.headers.get("Content-Length")
    total = begun + int(length) if length else None
    _tag(part).write_text(answer.headers.get("ETag", ""))
    with (
        part.open("ab" if begun else "wb") as file,
        tqdm(
            total=total,
            initial=begun,
            desc=url.rpartition("/")[2],
            unit="B",
            unit_scale=True,
            disable=None,  # none where standard error is no terminal
        ) as bar,
    ):
        while piece := answer.read(_PIECE):
            file.write(piece)
            bar.update(len(piece))
    done = part.stat().st_size
    if total is not None and done != total:
        raise InputError(f"{url} broke off after {done} of {total} bytes: run again to go on there")


def _resume(part: Path) -> dict[str, str]:
    """Ask for the rest, provided that the file is still the same; weak tags do not say that."""
    tag = _tag(part).read_text() if _tag(part).is_file() else ""
    begun = part.stat().st_size if part.is_file() else 0
    if not begun or not tag.startswith('"'):
        return {}
    return {"Range": f"bytes={begun}-", "If-Range": tag}


class _Redirects(HTTPRedirectHandler):
    """The hub's first answer tells the hash; the storage that it points to does not."""

    linked: str | None = None

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        self.linked = self.linked or headers.get("X-Linked-ETag")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore


def _refusal(url: str, code: int) -> InputError:
    if code == 404:
        return NotThereError(f"there is no {url}: is the name right?")
    if code in (401, 403):
        return InputError(
            f"{url} is not public or not there ({code}): is the name right,"
            " and, if it is private, are you logged in (hf auth login)?"
        )
    return InputError(f"the server answered {code} for {url}: try again later")


def _as_hash(tag: str | None) -> str | None:
    text = (tag or "").removeprefix("W/").strip('"').lower()
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else None


def _check_hash(path: Path, sha256: str | None, remedy: str) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise InputError(f"{path} has the sha256 {found}, not {sha256.lower()}: {remedy}")


def _tag(part: Path) -> Path:
    return part.with_suffix(".tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)
