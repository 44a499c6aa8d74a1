"""Models on this machine: where one is, its tokenizer and digest, and what fits on a device."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cpt import adapters, paths, torchao
from cpt.errors import CptError, first_line
from cpt.files import write_text

TOKENIZER = ("*tokenizer*.json", "*tokenizer*.model", "chat_template*", "generation_config.json")
"""Files beside the weights that decide what a model reads and when it stops."""
PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
"""The template of a tokenizer that has none: a line for each turn, answers end with EOS."""
CONTEXT = ("max_position_embeddings", "max_target_positions", "max_seq_len", "n_positions")
"""What configurations call the number of positions."""
POSITIONS = re.compile(r"(?:^|\.)(?:wpe|(?:embed_)?positions?(?:_embed\w*)?|pos_emb\w*)$")
"""The names of tables with a row for each position."""
SMALL = 500_000
"""Parameters below which threads wait for each other longer than they compute."""
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
    if (folder / adapters.CONFIG).exists():
        base = folder_of(adapters.base_of(folder))
        hide_bars()
        return adapters.merged(folder, base, weights_digest(base))
    if not (folder / "config.json").exists():
        raise CptError(f"{folder}: not a model's folder, as it has no config.json.")
    _need_its_libraries(folder)
    return folder


def _need_its_libraries(folder: Path) -> None:
    with suppress(
        OSError, ValueError, AttributeError
    ):  # whoever loads the model says what is wrong
        torchao.need_for(json.loads((folder / "config.json").read_text(encoding="utf-8")))


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


def code_mark(folder: Path, *, trust_remote_code: bool) -> str:
    """What tells a model that runs code of its folder from the same weights in other code."""
    return "+code" if trust_remote_code and any(folder.glob("*.py")) else ""


def folder_digest(folder: Path) -> str:
    """The digest of the model in a folder: weights, configuration, tokenizer, chat template.

    Raises `OSError` if there is no model.
    """
    files = (file for file in folder.glob("*") if file.exists())  # a link may be broken
    return _folder_digest(folder, tuple(sorted(map(_state, files))))


@lru_cache
def _folder_digest(folder: Path, state: tuple[tuple[Any, ...], ...]) -> str:
    digest = hashlib.blake2b(weights_digest(folder).encode(), digest_size=16)
    for file in sorted({file for pattern in TOKENIZER for file in folder.glob(pattern)}):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _state(file: Path) -> tuple[Any, ...]:
    """What changes when a file does."""
    stat = file.stat()
    return file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def weights_digest(folder: Path) -> str:
    """A digest of a model's weights, configuration and own code. Raises `OSError` if there is none.

    A file is read once, and again only if its size, its times or its inode change.
    """
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if len(files) == 1:
        files += sorted(folder.glob("pytorch_model*.bin"))
    files += sorted(folder.glob("*.py"))  # code of its own, if it has any
    known = _known_digests()
    found = {_stamp(file): known.get(_stamp(file)) or _file_digest(file) for file in files}
    if not found.keys() <= known.keys():
        with suppress(OSError, CptError):  # without a cache they are computed again
            write_text(_digests_file(), json.dumps(known | found))
    return hashlib.blake2b("".join(found.values()).encode(), digest_size=16).hexdigest()


def _known_digests() -> dict[str, str]:
    """Those of files that were read before; none if the cache cannot be read."""
    with suppress(OSError, ValueError, CptError):
        known = json.loads(_digests_file().read_text())
        return known if isinstance(known, dict) else {}
    return {}


def _digests_file() -> Path:
    return paths.cache_folder() / "digests.json"


def _stamp(file: Path) -> str:
    stat = file.resolve().stat()
    return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def _file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()[:32]


def device_of(name: str) -> str:
    """The device that `auto` means here: the first accelerator, or else the CPU."""
    import torch

    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator else "cpu"


def batches(lengths: Sequence[int], tokens: int, extra: int = 0) -> Iterator[list[int]]:
    """Split indices into batches of similar length, the longest first.

    A batch, padded to its longest row and with `extra` tokens for each row, takes at most
    `tokens`; a row that is too long for that is alone.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, tokens // (lengths[order[start]] + extra))
        yield order[start : start + size]
        start += size


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in a model's folder, with an EOS token and a chat template for certain.

    Code in the folder is run only with `trust_remote_code`. Raises `CptError` if there is no
    tokenizer, or none of its tokens can end an answer.
    """
    return with_template(bare_tokenizer(folder, trust_remote_code=trust_remote_code))


def bare_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in a model's folder, as it is. Raises `CptError` if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        refuse_own_code(folder, error)
        raise CptError(
            f"{folder}: no tokenizer that can be loaded ({first_line(error)}); a model's folder "
            "needs tokenizer.json and tokenizer_config.json."
        ) from error


def with_template(tokenizer: Any) -> Any:
    """The tokenizer itself, given the template `PLAIN` if it has none. Raises `CptError`."""
    if tokenizer.eos_token_id is None:
        raise CptError(
            f"{tokenizer.name_or_path}: the tokenizer has no EOS token, so no answer would end; "
            "set eos_token in its tokenizer_config.json."
        )
    if not tokenizer.chat_template:
        begins = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN
    return tokenizer


def token_ids(
    tokenizer: Any, chats: Sequence[Sequence[Mapping[str, str]]], **how: bool
) -> list[list[int] | str]:
    """The token ids of each conversation in the chat template, or why it has none."""
    import jinja2

    # A template is a program of its author's, and may fail in any way.
    failures = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError)
    try:
        texts = tokenizer.apply_chat_template(chats, tokenize=False, **how)
        rows = tokenizer(texts, add_special_tokens=False).input_ids
    except (*failures, ValueError) as error:
        if len(chats) == 1:
            return [f"the chat template refuses it ({first_line(error)})"]
        return [ids for chat in chats for ids in token_ids(tokenizer, [chat], **how)]
    return [row or "the chat template makes an empty text of it" for row in rows]


def context_of(model: Any) -> int | None:
    """The most tokens that a loaded model has positions for, None where there is no limit."""
    import torch

    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in CONTEXT]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and POSITIONS.search(name):
            # The first rows are no positions: RoBERTa counts from its padding on, OPT from 2.
            padding = -1 if module.padding_idx is None else module.padding_idx
            limits.append(module.num_embeddings - max(padding + 1, getattr(module, "offset", 0)))
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def refuse_own_code(folder: Path, error: Exception) -> None:
    """Raise `CptError` if `error` says that a model needs code of its own, which is not run."""
    if "trust_remote_code" in str(error):
        raise CptError(
            f"{folder}: this model needs Python code of its own, which is not run unless the "
            "option trust_remote_code says so (--train.trust-remote-code in training); read the "
            "code in its folder first."
        ) from error


def hide_bars() -> None:
    """Keep the bars of transformers, for loading and writing weights, off the terminal."""
    from transformers.utils import logging

    logging.disable_progress_bar()


@contextmanager
def suited_threads(parameters: int) -> Iterator[None]:
    """Compute with one thread inside the block, if the model has few parameters."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if parameters < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
