"""A trained router on the Hugging Face hub: fetched by the commit that holds it, and uploaded as `erp export` wrote it.

huggingface_hub is imported where it is used; a router that is read from a folder does without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erp.errors import ErpError, shorten
from erp.trained.exported import CONFIG, TENSORS

README, ORIGIN, DRIFT = "README.md", "origin.json", "drift.json"
# What `erp export` writes, and the most bytes of each that are fetched. The tensors come last: where they lie in the
# cache, the others do.
FILES = {README: 4 << 20, ORIGIN: 16 << 20, DRIFT: 1 << 20, CONFIG: 256 << 20, TENSORS: 8 << 30}
_KEPT = ".gitattributes"  # the hub's own, in every repository
_NAME = r"[\w.-]+/[\w.-]+"
_SPELLING = "give hf://<owner>/<name>@<the commit's 40 hexadecimal digits>"


def located(run: str | Path, revision: str | None = None, trust: bool = False) -> Path:
    """The folder that a run, or an address on the hub, stands for. What is in the hub's cache is not asked for again.

    Args:
        run: a folder, or ``hf://<owner>/<name>``, with ``@<commit>`` unless ``revision`` says it.
        revision: the commit, in full: a branch or a tag can be moved to other tensors by whoever owns it.
        trust: as in `load`; code of a repository is never run.

    Raises:
        ErpError: the address names no commit, or the hub does not give its files, or they are not those of an export.
    """
    text = re.sub("^hf:/+", "hf://", str(run))  # pathlib makes one stroke of two
    if not text.startswith("hf://"):
        if revision is not None:
            raise ErpError(f"revision = {revision}: is for hf://<owner>/<name>; leave it out, run = {run} is a folder")
        return Path(run)
    address, at, commit = text.partition("@")
    if at and revision not in (None, commit):
        raise ErpError(f"revision = {revision}: run = {text} names another commit; give one of them")
    commit = commit or revision or ""
    if not re.fullmatch(f"hf://{_NAME}", address):
        raise ErpError(f"run = {text}: is no address on the hub; {_SPELLING}")
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise ErpError(
            f"run = {address}: {commit or 'nothing'} is no commit, and what a branch or a tag names can be changed by "
            f"its owner; {_SPELLING}"
        )
    if trust:
        raise ErpError(
            f"trust = true: no code that run = {address} names is run; download the repository, read it, and load the "
            "folder with trust"
        )
    return _fetched(address.removeprefix("hf://"), commit)


def _fetched(name: str, commit: str) -> Path:
    """The folder in the hub's cache. Raises ErpError."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    run = f"run = hf://{name}@{commit}"
    with _in_one_line(run):
        cached = [try_to_load_from_cache(name, file, revision=commit) for file in (CONFIG, TENSORS)]
        if all(isinstance(path, str) for path in cached):
            return Path(str(cached[0])).parent
        found = HfApi().model_info(name, revision=commit, files_metadata=True)
    if found.sha != commit:
        raise ErpError(f"{run}: the hub knows this as a name of commit {found.sha}; give the commit itself")
    sizes = {file.rfilename: file.size for file in found.siblings or ()}
    if lacking := [file for file in (CONFIG, TENSORS) if file not in sizes]:
        raise ErpError(f"{run}: holds no {' and no '.join(lacking)}; give a repository that `erp push` made")
    for file, most in FILES.items():
        if file in sizes and not (sizes[file] or 0) <= most:
            raise ErpError(f"{run}: its {file} has {sizes[file]:,} bytes; up to {most:,} are fetched")
    with _in_one_line(run):
        return [Path(hf_hub_download(name, file, revision=commit)).parent for file in FILES if file in sizes][-1]


def require_name(to: str) -> None:
    """Refuse what is no repository's name. Raises ErpError."""
    if not re.fullmatch(_NAME, to):
        raise ErpError(f"to = {to}: is no repository's name; give <owner>/<name>")


def pushed(folder: Path, to: str, token: str, private: bool, message: str) -> str:
    """Upload an export as one commit; returns its 40 hexadecimal digits.

    Args:
        folder: what `erp export` wrote. Nothing else of it is sent.
        to: owner and name of the repository, which is made where there is none.
        token: of the hub, which may write there.
        private: whether only its owner may see it; an existing one is as it is.
        message: of the commit.

    Raises:
        ErpError: the hub does not take it; or what lies there is something else, or public and not to be.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(token=token)
    there: set[str] = set()
    with _in_one_line(f"to = {to}"):
        try:
            found = api.model_info(to)
        except RepositoryNotFoundError:
            api.create_repo(to, private=private)
        else:
            there = {file.rfilename for file in found.siblings or ()} - {_KEPT}
            if private and not found.private:
                raise ErpError(f"to = {to}: is public already; give private=false, or a new repository")
    if others := sorted(there - set(FILES)):
        raise ErpError(f"to = {to}: holds {shorten(others)}; give a new repository, or one of an earlier push")
    here = [file for file in FILES if (folder / file).exists()]
    gone = there - set(here)  # prices of another router
    operations = [CommitOperationAdd(file, str(folder / file)) for file in here]
    with _in_one_line(f"to = {to}"):
        made = api.create_commit(to, [*operations, *map(CommitOperationDelete, gone)], commit_message=message)
    return str(made.oid)


@contextmanager
def _in_one_line(key: str) -> Iterator[None]:
    """What the hub refuses, as an ErpError. No message of a library is repeated: one may hold the token."""
    from huggingface_hub import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its retries would stand between our lines
    try:
        yield
    except ErpError:
        raise
    except Exception as error:  # the client's, its transport's and its storage's have no class in common
        raise ErpError(f"{key}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return "is no name that the hub knows; check its spelling"
    if isinstance(error, RevisionNotFoundError):
        return "there is no such commit in the repository; check it"
    if isinstance(error, GatedRepoError):
        return "is given on request only; ask for it on its page, and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return (
            "there is no such repository, or it is private; check its name, and set HF_TOKEN to a token that may see it"
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return "the hub does not know the token (401); make a new one in the hub's settings"
        if status == 403:
            return "the token may not do this (403); give one that may"
        return f"the hub answered {status}; try again later"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the room on its disk and its permissions"
    return f"the hub does not answer ({type(error).__name__}); try again with a connection to it"
