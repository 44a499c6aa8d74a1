"""The example with a real model holds together, as far as that can be seen without the model."""

from __future__ import annotations

import asyncio
import json
import runpy
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cpt
from cpt.config import layers
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt_judges.verifiable import Verifiable

from . import tiny
from .fresh import ROOT

EXAMPLE = ROOT / "examples" / "real-model"
PROMPTS = runpy.run_path(str(EXAMPLE / "prompts.py"))
REVISER = runpy.run_path(str(EXAMPLE / "reviser.py"))
ANSWER = "Bees live together, and they can make honey. Each hive has one queen. People love them."


def script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLE / name, *arguments], capture_output=True, text=True
    )


def test_the_prompts_are_always_the_same_and_the_held_out_ones_are_about_other_topics(
    tmp_path: Path,
) -> None:
    for folder in ("one", "two"):
        assert script("prompts.py", tmp_path / folder).returncode == 0
    for name in ("train.jsonl", "held_out.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    train, held_out = (
        {prompt.text for prompt in cpt.read_prompts(tmp_path / "one" / name)}
        for name in ("train.jsonl", "held_out.jsonl")
    )
    topics = PROMPTS["HELD_OUT"]
    assert len(train) == 200
    assert len(held_out) == 60
    assert not train & held_out
    assert not any(f"about {topic}" in text for topic in topics for text in train)


def test_more_prompts_than_there_are_is_one_line(tmp_path: Path) -> None:
    done = script("prompts.py", tmp_path, "--train", "1000")
    assert done.returncode != 0
    assert "there are only" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_fixed_follows_both_of_two_instructions() -> None:
    # IFEval's check of capitals also asks langdetect, which takes some of them for German.
    certain = [kind for kind in PROMPTS["KINDS"] if kind[0] != "change_case:english_capital"]
    both = [
        {one: arguments, other: others}
        for (one, _, arguments), (other, _, others) in combinations(certain, 2)
        if one.partition(":")[0] != other.partition(":")[0]
    ]
    assert len(both) > 40
    assert [wanted for wanted in both if score(REVISER["fixed"](ANSWER, wanted), wanted) != 1] == []


def score(text: str, wanted: dict[str, Any]) -> float | None:
    info = {"instruction_id_list": list(wanted), "kwargs": list(wanted.values())}
    prompt = cpt.Prompt(id="1", messages=(cpt.Message("user", "Tell me about bees."),), info=info)
    answer = cpt.Response(prompt_id="1", text=text, author="fixer")

    async def nobody(responder: cpt.Responder, prompt: cpt.Prompt, sample: int = 0) -> cpt.Response:
        raise AssertionError

    return asyncio.run(Verifiable().judge(prompt, [answer], nobody)).scores[0]


def test_the_reviser_overlooks_some_of_it_and_always_the_same(tmp_path: Path) -> None:
    script("prompts.py", tmp_path)
    source = str(tmp_path / "train.jsonl")
    request = (EXAMPLE / "request.txt").read_text().replace("{student_solution}", ANSWER)
    asked = [
        (cpt.Prompt(id=prompt.id, messages=(cpt.Message("user", request),)), 0)
        for prompt in cpt.read_prompts(source)
    ]

    def attended(**options: float) -> int:
        answers = REVISER["Fixer"](source, **options).answer_all(asked)
        assert {answer.outcome.value for answer in answers} == {"answered"}
        return sum(answer.text.splitlines()[1].count(":") for answer in answers)

    assert attended() == attended()
    assert attended(fixes=0) == 0 < attended() < attended(fixes=1)


@pytest.mark.parametrize("name", ["clair", "ladder"])
def test_the_options_are_valid(name: str) -> None:
    registry = Registry.collect(load_plugins([str(EXAMPLE / "reviser.py")]))
    given = layers.read(EXAMPLE / f"{name}.yaml")
    config = layers.resolve(layers.stack([given], registry), registry)
    assert config.pairer is not None
    assert config.pairer.name == name
    assert [evaluator.name for evaluator in config.evaluators] == [
        "verifiable",
        "health",
        "preference_accuracy",
    ]


def test_a_model_from_a_gguf_file_is_checked_against_it(tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    model = tmp_path / "model"
    done = script("prepare.py", model, "--gguf", file)
    assert done.returncode == 0, done.stderr
    assert "the same as tiny.gguf" in done.stdout
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in model.iterdir()
    }
    assert "quantization_config" not in json.loads((model / "config.json").read_text())
    other = shutil.copytree(model, tmp_path / "other")
    spoil(other / "model.safetensors")
    wrong = runpy.run_path(str(EXAMPLE / "prepare.py"))["check"]
    with pytest.raises(SystemExit, match=r"blk\.0\.ffn_up\.weight"):
        wrong(file, other)


def spoil(file: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(file)
    weights["model.layers.0.mlp.up_proj.weight"] *= 2
    save_file(weights, file, metadata={"format": "pt"})


def tiny_gguf(path: Path) -> Path:
    """A llama with one layer and a token for each byte."""
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        *sorted(ByteLevel.alphabet()),
        "an",
        "th",
    ]
    width, inner, heads = 8, 16, 2
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["a n", "t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    draw = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(tokens), width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (inner, width),
        "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_how_ready_a_model_is_to_end_is_the_probability_of_its_end(tmp_path: Path) -> None:
    mean_end = runpy.run_path(str(EXAMPLE / "endings.py"))["mean_end"]
    folder = tiny.folder(tmp_path / "model")
    pairs = tiny.pairs(2)
    found = mean_end(folder, [pair.chosen for pair in pairs], pairs)
    tokenizer, model = tiny.tokenizer(), tiny.model().eval()
    ends = []
    for pair in pairs:
        said = f"<|im_start|>user\n{pair.prompt.text}<|im_end|>\n<|im_start|>assistant\n"
        ids = tokenizer(said + pair.chosen.text, return_tensors="pt").input_ids
        logps = model(input_ids=ids).logits[0, -1].log_softmax(-1)
        ends.append(float(logps[tokenizer.eos_token_id].detach()))
    assert found == pytest.approx(sum(ends) / 2, abs=1e-4)
