"""Where a model is, what it is called, and what decides its answers."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from cpt import paths
from cpt.errors import CptError
from cpt.files import refuse_devices
from cpt.models import adapters, torchao
from cpt.models.digests import code_mark, folder_digest, weights_digest
from cpt.models.loading import hide_bars

DOWNLOADED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py"]
"""Files that a model of the hub is made of; code is run only where that is allowed."""


def folder_of(model: str | Path) -> Path:
    """The folder of a model: a path, a path scheme (`lab:policy`) or a hub id.

    For a folder that holds an adapter, that of the adapter merged with its base. Raises `CptError`
    if there is no such model.
    """
    folder = Path(paths.resolve(str(model)))
    if not folder.is_dir():
        folder = _from_hub(str(folder))
    refuse_devices(folder, "a model")
    if (folder / adapters.CONFIG).exists():
        base = folder_of(adapters.base_of(folder))
        hide_bars()
        return adapters.merged(folder, base, weights_digest(base))
    if not (folder / "config.json").exists():
        raise CptError(f"{folder}: not a model's folder, as it has no config.json.")
    _need_its_libraries(folder)
    return folder


def _need_its_libraries(folder: Path) -> None:
    with suppress(AttributeError):
        torchao.need_for(_config(folder))


def refuse_classifier(folder: Path) -> None:
    """Raise `CptError` if a folder holds a model that gives scores and writes no text."""
    config = _config(folder)
    saved = config.get("architectures") if isinstance(config, dict) else None
    for name in saved or ():
        if str(name).endswith("ForSequenceClassification"):
            raise CptError(
                f"{folder}: holds {name}, a reward model or another classifier, which writes no "
                "text; give --model a language model (a reward model judges: --judge reward_model)."
            )


def _config(folder: Path) -> Any:
    """The content of its config.json; None if it is damaged, as whoever loads the model says."""
    with suppress(OSError, ValueError):
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise CptError(f"{name}: there is no such folder, and it is not a hub id (OWNER/NAME).")
    try:
        return Path(snapshot_download(name, allow_patterns=DOWNLOADED))
    except (HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise CptError(
            f"{name}: there is no such folder, and the hub does not give it ({why})."
        ) from error


def name_of(model: str) -> str:
    """What a model is called: the name of its folder, or of the run that it is in.

    Nothing is read from the disk.
    """
    parts = model.replace(":", "/").rstrip("/").split("/")
    return parts[-2] if parts[-1] == "model" and len(parts) > 1 and parts[-2] else parts[-1]


def digest_of(model: str, *, trust_remote_code: bool = False) -> str:
    """A digest of all that decides a model's answers. Raises `CptError`.

    Copies in other places have the same digest; a folder whose content changes gets another one,
    and so does one whose code is run.
    """
    folder = folder_of(model)
    return folder_digest(folder) + code_mark(folder, trust_remote_code=trust_remote_code)
