"""Models on this machine: where one is, its tokenizer and digest, and what fits on a device."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpt.models.devices import batches, context_of, device_of, suited_threads
    from cpt.models.digests import code_mark, folder_digest, weights_digest
    from cpt.models.folders import digest_of, folder_of, name_of
    from cpt.models.loading import hide_bars, refuse_own_code
    from cpt.models.tokenizers import bare_tokenizer, load_tokenizer, token_ids, with_template

__all__ = [
    "bare_tokenizer",
    "batches",
    "code_mark",
    "context_of",
    "device_of",
    "digest_of",
    "folder_digest",
    "folder_of",
    "hide_bars",
    "load_tokenizer",
    "name_of",
    "refuse_own_code",
    "suited_threads",
    "token_ids",
    "weights_digest",
    "with_template",
]

_MODULES = {
    "devices": ("batches", "context_of", "device_of", "suited_threads"),
    "digests": ("code_mark", "folder_digest", "weights_digest"),
    "folders": ("digest_of", "folder_of", "name_of"),
    "loading": ("hide_bars", "refuse_own_code"),
    "tokenizers": ("bare_tokenizer", "load_tokenizer", "token_ids", "with_template"),
}


def __getattr__(name: str) -> Any:
    # The command imports `torchao` of this folder, and has no use for the rest to print its help.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"cpt.models.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
