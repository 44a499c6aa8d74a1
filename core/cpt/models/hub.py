"""A trained model on the hub, for those who ask for it: the only place that sends one anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt import secrets
from cpt.errors import CptError, Stopped
from cpt.files import ODD

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
CACHED = re.compile(r"models--([^/]+?)--([^/]+)")
"""The folder of a model in the hub's cache."""
MOST = 240
"""Characters of what the hub says."""


def id_of(folder: Path) -> str | None:
    """The hub id of a model in the hub's cache; None for any other folder."""
    found = filter(None, map(CACHED.fullmatch, folder.parts))
    return next(("/".join(match.groups()) for match in found), None)


def check(name: str) -> None:
    """Raise `CptError` if nothing can be uploaded there: no such name, or no token here.

    Nothing is sent.
    """
    from huggingface_hub import get_token

    if not NAME.fullmatch(name):
        raise CptError(f"--push-to-hub {name}: must be OWNER/NAME, as in `me/my-model`.")
    token = get_token()
    if not token:
        raise CptError(
            f"--push-to-hub {name}: there is no token for the hub; `hf auth login`, or set "
            "HF_TOKEN."
        )
    secrets.hide(token)


def push(folder: Path, name: str, *, public: bool = False) -> str:
    """Upload a model's folder with its card; returns its address.

    What is there already is not sent again, and nothing there is deleted. A new repository is
    private unless `public`; who sees one that exists is never changed. Raises `Stopped`.
    """
    from huggingface_hub import HfApi, errors

    broken: tuple[type[Exception], ...] = (
        errors.HTTPError,  # type: ignore[attr-defined]  # of the library that this version uses
        *(OSError, *ODD),
    )
    try:
        return _push(HfApi(), folder, name, public)
    except broken as error:
        raise Stopped(
            f"--push-to-hub {name}: {_why(error)}. The model is in {folder}; the same command "
            "tries the upload again, without training."
        ) from error


def _push(api: HfApi, folder: Path, name: str, public: bool) -> str:
    address = str(api.create_repo(name, private=not public, exist_ok=True))
    is_private = bool(api.model_info(name).private)
    if is_private == public:
        there, fix = ("private", "leave out") if is_private else ("public", "add")
        raise ValueError(f"the repository is {there}: {fix} --public, or change its settings")
    api.upload_folder(repo_id=name, folder_path=folder, commit_message="Trained with cpt")
    return address


def _why(error: Any) -> str:
    said = secrets.one_line(str(error), MOST).rstrip(" .")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"this token may not write there; is the name somebody else's? ({said})"
    if status:
        return f"the hub refused it ({said})"
    if isinstance(error, AttributeError | LookupError | TypeError):
        return f"the hub's answer is none that can be read ({type(error).__name__}: {said})"
    return said if isinstance(error, ValueError) else f"the hub cannot be reached ({said})"
