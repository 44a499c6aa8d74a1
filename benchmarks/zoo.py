"""Every causal model type of transformers, tiny and random: is it exact, and how is it arranged?

    python benchmarks/zoo.py                      all types, about half an hour on one core
    python benchmarks/zoo.py llama gemma4_text    some of them

Each type is tried in a process of its own, a fork of this one, with limits of time and memory. The
log-probabilities and gradients of the layout that `cpt` picks are compared with a fresh copy of the
model that reads one row at a time, plainly and with gradient checkpointing. Needs no network.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

LOGP, GRADIENT = 5e-4, 2e-3
"""Largest error of a log-probability in nats, and of the gradient relative to its length."""
FORK = multiprocessing.get_context("fork")
LARGEST = 6_000_000
"""Weights above which a model is not tiny."""


MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_expand": 2}
MLA = {"num_key_value_heads": 4, "head_dim": 4}
HEADS = {"head_dim": 8}
DECODER = {"is_decoder": True}
EMBEDDED = {**DECODER, "embedding_size": 32}
OWN: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2, "state_size": 8},
    "bamba": {**MAMBA, "mamba_n_groups": 1, "attn_layer_indices": [1]},
    "falcon_h1": {**MAMBA, "mamba_n_groups": 1, "mamba_d_ssm": 64, "intermediate_size": 48},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 12, "num_heads": 4},
    **dict.fromkeys(("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral"), HEADS),
    **dict.fromkeys(("glm4_moe_lite", "axk1", "axk2", "youtu"), MLA),
    "glm_moe_dsa": {**MLA, "index_topk": 12, "index_head_dim": 8},
    "longcat_flash": {
        **{**MLA, "num_layers": 1, "num_hidden_layers": 2, "ffn_hidden_size": 48},
        **{"expert_ffn_hidden_size": 16, "zero_expert_num": 2, "moe_topk": 2},
    },
    "xlm": {"emb_dim": 32, "n_heads": 4, "n_layers": 2, "n_words": 97, "causal": True},
    **dict.fromkeys(("camembert", "ernie", "xlm-roberta", "megatron-bert"), DECODER),
    **dict.fromkeys(("data2vec-text", "bert-generation", "roberta-prelayernorm"), DECODER),
    "xlm-roberta-xl": DECODER,
    "xmod": {**DECODER, "default_language": "en_XX"},
    "big_bird": {**DECODER, "attention_type": "original_full"},
    **dict.fromkeys(("electra", "roformer"), EMBEDDED),
}
"""What types cannot be made small or causal without, beside the families of the tests."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("types", nargs="*", help="model types, or names of the tests' families")
    parser.add_argument("--seconds", type=int, default=180, help="most for one type, of a core")
    parser.add_argument("--memory", type=int, default=6, help="most GiB for one type")
    parser.add_argument("--output", type=Path, help="JSON with all that was found")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    _import_all()
    found = {}
    for name in options.types or _names():
        found[name] = _in_a_process(name, options)
        print(_line(name, found[name]), flush=True)
    print(_summary(found))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1))


def _import_all() -> None:
    """Import what every type needs, once, and let it compute with one thread."""
    import torch
    import transformers.modeling_utils  # noqa: F401

    import cpt.training.forward.loading.model
    import cpt.training.forward.logps  # noqa: F401

    torch.set_num_threads(1)


def _names() -> list[str]:
    from families import FAMILIES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return [*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *(name for name in FAMILIES if ", " in name)]


def _in_a_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a fork of this process finds: it has the libraries, and nothing of the types before."""
    found, send = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_one, args=(name, options, send))
    process.start()
    send.close()
    with contextlib.suppress(EOFError):
        result: dict[str, Any] = found.recv()
        process.join()
        return result
    process.join()
    if process.exitcode == -signal.SIGXCPU:
        return {"verdict": "no end", "why": f"{options.seconds} s"}
    return {"verdict": "crash", "why": f"status {process.exitcode}"}


def _one(name: str, options: argparse.Namespace, send: Any) -> None:
    # Address space, not memory: what the libraries map counts as well.
    resource.setrlimit(resource.RLIMIT_AS, (options.memory * 2**30,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (options.seconds,) * 2)
    try:
        send.send(_tried(name))
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        send.send({"verdict": "crash", "why": why[:200]})


def _tried(name: str) -> dict[str, Any]:
    import torch
    from families import FAMILIES, config_of, random_model

    from cpt.errors import CptError

    try:
        config = config_of(*FAMILIES.get(name, (name, OWN.get(name, {}))))
        with torch.device("meta"):
            weights = sum(weight.numel() for weight in random_model(config).parameters())
        if weights > LARGEST:
            raise ValueError(f"{weights:,} weights are not tiny")
        model = random_model(config)
    except Exception as error:
        return {"verdict": "not built", "why": f"{type(error).__name__}: {error}"[:200]}
    try:
        return _compared(model)
    except CptError as error:
        return {"verdict": "refused", "why": str(error)}


def _compared(model: Any) -> dict[str, Any]:
    from cpt.errors import CptError
    from cpt.training.forward.loading.model import made_trainable
    from cpt.training.forward.logps import SequenceLogps
    from cpt.training.options import Training

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("cpt").addHandler(handler)
    original = copy.deepcopy(model)
    module = SequenceLogps(model)
    layout = module.layout
    padded = "compact" if layout.compact else "padded"
    how = "packed" if layout.packed else padded if layout.longest != 0 else "alone"
    wanted = _one_by_one(original)
    found = {"layout": how, "longest": layout.longest, "said": said}
    found["plain"] = _errors(module, wanted)
    try:
        twice = made_trainable(copy.deepcopy(original), Training(gradient_checkpointing=True))
        found["checkpointing"] = _errors(SequenceLogps(twice), wanted)
    except CptError as error:
        found["checkpointing"] = str(error)
    errors = [value for value in found.values() if isinstance(value, list) and value != said]
    exact = all(logp <= LOGP and gradient <= GRADIENT for logp, gradient in errors)
    return {"verdict": "exact" if exact else "WRONG", **found}


def _one_by_one(model: Any) -> tuple[Any, Any]:
    import torch
    from families import plain, rows

    logps, gradient = [], 0.0
    for group in rows():
        for sequence in group:
            fresh = copy.deepcopy(model)
            values = plain(fresh, sequence)
            (values * _weights(len(values))).sum().backward()
            logps.append(values.detach())
            gradient = gradient + _gradient(fresh)
    return torch.cat(logps), gradient


def _errors(module: Any, wanted: tuple[Any, Any]) -> list[float]:
    """The largest error of a log-probability, and that of the gradient relative to its length."""
    import torch
    from families import rows

    from cpt.training.forward.probing import trial

    found = trial.scored(module, rows(), module.layout, module.model.device)
    weights = [_weights(len(sequence.answer)) for group in rows() for sequence in group]
    (found * torch.cat(weights)).sum().backward()
    logps, gradient = wanted
    off = (_gradient(module.model) - gradient).norm() / gradient.norm()
    return [float((found.detach() - logps).abs().max()), float(off)]


def _weights(count: int) -> Any:
    import torch

    return torch.linspace(-1.0, 1.5, count)


def _gradient(model: Any) -> Any:
    import torch

    return torch.cat(
        [
            (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
            for weight in model.parameters()
        ]
    )


def _line(name: str, found: dict[str, Any]) -> str:
    errors = ""
    with contextlib.suppress(KeyError):
        errors = "  logp {:.0e}  gradient {:.0e}".format(*found["plain"])
    return f"{name:28}{found['verdict']:11}{found.get('layout', ''):8}{errors}  " + found.get(
        "why", ""
    )


def _summary(found: dict[str, dict[str, Any]]) -> str:
    verdicts = Counter(entry["verdict"] for entry in found.values())
    layouts = Counter(entry["layout"] for entry in found.values() if "layout" in entry)
    return f"{len(found)} types: {dict(verdicts)}; layouts: {dict(layouts)}"


if __name__ == "__main__":
    main()
