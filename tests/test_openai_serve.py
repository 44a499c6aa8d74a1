"""`openai` against a server that nobody here wrote: `transformers serve`, offline."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from cpt import Message, Prompt
from cpt_openai import OpenAI

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: index for index, word in enumerate(["<s>", "</s>", "<pad>", *letters])}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(
        vocab_size=len(words),
        num_attention_heads=2,
        max_position_embeddings=512,
        **sizes,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    """The address of a running server."""
    line = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    server = subprocess.Popen(
        [*line, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert server.stderr is not None
    said = []
    for line in server.stderr:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("".join(said))
    Thread(target=server.stderr.read, daemon=True).start()
    yield f"{found[0]}/v1"
    server.terminate()
    server.wait()


def prompts(count: int) -> list[Prompt]:
    return [Prompt(id=f"p{n}", messages=(Message("user", f"Say {n}."),)) for n in range(count)]


async def ask_all(responder: OpenAI, asked: list[Prompt]) -> list[str]:
    try:
        answers = await asyncio.gather(*(responder.answer(prompt, 0) for prompt in asked))
    finally:
        await responder.close()
    assert [each.prompt_id for each in answers] == [each.id for each in asked]
    for each in answers:
        ended = each.finish_reason == "stop"
        assert each.outcome == ("answered" if ended else "cut_off")
        assert each.text and each.usage.input_tokens == 28
        assert each.usage.output_tokens < 6 if ended else each.usage.output_tokens == 6
    return [each.text for each in answers]


async def test_a_local_model_answers(url: str, model: Path) -> None:
    responder = OpenAI(str(model), base_url=url, max_tokens=6, temperature=0.0)
    responder.check()
    greedy = await ask_all(responder, prompts(10))
    assert await ask_all(responder, prompts(10)) == greedy
    assert len(set(greedy)) > 1
