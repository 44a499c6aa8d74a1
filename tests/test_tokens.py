"""Text to token ids: where a prompt ends, and what an answer is made of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from cpt import CptError, Message
from cpt.training.tokens import encode, load_tokenizer, with_template

from . import tiny

TOKENIZER = tiny.tokenizer()
TEXT = st.text(st.sampled_from("abcd \n"), max_size=12)


def both(encoded: Any, side: str = "chosen") -> list[int]:
    return [*encoded.prompt.tolist(), *getattr(encoded, side).ids.tolist()]


def rendered(pair: Any) -> str:
    chat = [attrs.asdict(each) for each in pair.prompt.messages]
    return str(
        TOKENIZER.apply_chat_template(
            [*chat, {"role": "assistant", "content": pair.chosen.text}], tokenize=False
        )
    )


def test_the_prompt_is_what_a_model_is_asked_with_and_the_answer_all_that_follows() -> None:
    pair = tiny.pair("abcd?", "ab cd", "no")
    (encoded,) = encode([pair], TOKENIZER)
    chat = [{"role": "user", "content": "abcd?"}]
    asked = TOKENIZER.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert encoded.prompt.tolist() == asked
    assert TOKENIZER.decode(both(encoded)) == rendered(pair)
    assert TOKENIZER.eos_token_id in encoded.chosen.ids
    assert encoded.chosen.ended and not encoded.chosen.merged


@settings(deadline=None, max_examples=150)
@given(TEXT, TEXT, TEXT)
def test_nothing_is_lost_and_a_merge_over_the_boundary_is_seen(
    question: str, chosen: str, rejected: str
) -> None:
    pair = tiny.pair(question, chosen, rejected)
    (encoded,) = encode([pair], TOKENIZER)
    assert TOKENIZER.decode(both(encoded)) == rendered(pair)
    whole = TOKENIZER(rendered(pair), add_special_tokens=False).input_ids
    begins = whole[: len(encoded.prompt)] == encoded.prompt.tolist()
    assert encoded.chosen.merged is not begins
    if begins:
        assert both(encoded) == whole


def test_a_merged_answer_leaves_the_prompt_as_it_is_asked() -> None:
    apart, merged = encode([tiny.pair("a", "b", "c"), tiny.pair("a", "\nb", "c")], TOKENIZER)
    assert merged.chosen.merged and not merged.rejected.merged and not apart.chosen.merged
    assert merged.prompt.tolist() == apart.prompt.tolist()


def test_a_tokenizer_that_marks_the_start_of_a_text_does_not_mark_the_answer() -> None:
    words = ["<s>", "</s>", *"▁:abcd"]
    made = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, [], unk_token=None))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    made.add_special_tokens(["<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}:"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    )
    (encoded,) = encode([tiny.pair("ab", "cd", "dc")], tokenizer)
    assert both(encoded) == tokenizer("ab: cd</s>", add_special_tokens=False).input_ids
    assert not encoded.chosen.merged


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_tokenizer_without_a_template_gets_a_plain_one(adds_bos: bool) -> None:
    tokenizer = tiny.tokenizer(template=None)
    if adds_bos:
        tokenizer.bos_token = "<s>"
        bos = ("<s>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair=None, special_tokens=[bos]
        )
    (encoded,) = encode([tiny.pair("abcd", "cd", "dc")], with_template(tokenizer))
    begin = "<s>" if adds_bos else ""
    assert tokenizer.decode(encoded.prompt) == f"{begin}abcd\n"
    assert tokenizer.decode(encoded.chosen.ids) == "cd<|im_end|>"


def test_an_answer_that_the_template_does_not_end_gets_an_end() -> None:
    bare = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (encoded,) = encode([tiny.pair("abcd", "cd", "dc")], tiny.tokenizer(template=bare))
    assert not encoded.chosen.ended
    assert encoded.chosen.ids[-1] == TOKENIZER.eos_token_id
    assert TOKENIZER.decode(encoded.chosen.ids[:-1]) == "cd\n"


def test_a_template_that_does_not_continue_its_own_prompt() -> None:
    thinking = tiny.CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    (encoded,) = encode([tiny.pair("abcd", "cd", "dc")], tiny.tokenizer(template=thinking))
    assert encoded.chosen.rewritten
    assert TOKENIZER.decode(both(encoded)).endswith("assistant\n<think>\ncd<|im_end|>\n")


def test_a_template_refuses_only_what_it_refuses() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    asked = [tiny.pair(f"ab{number}", "cd", "dc") for number in range(5)]
    system = attrs.evolve(asked[2].prompt, messages=(Message("system", "a"), Message("user", "b")))
    asked[2] = attrs.evolve(asked[2], prompt=system)
    encoded = encode(asked, tiny.tokenizer(template=strict + tiny.CHATML))
    assert [bool(each.chosen.problem) for each in encoded] == [False, False, True, False, False]
    assert "No system" in encoded[2].chosen.problem


def test_every_distinct_text_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    call = type(TOKENIZER).__call__

    def counting(self: Any, text: Any, **rest: Any) -> Any:
        seen.update(text if isinstance(text, list) else [text])
        return call(self, text, **rest)

    monkeypatch.setattr(type(TOKENIZER), "__call__", counting)
    encoded = encode(tiny.ladder(prompts=4, rungs=3) * 2, TOKENIZER)
    assert len(encoded) == 24
    assert set(seen.values()) == {1}
    # 4 prompts, 1 end of a prompt, 3 answers to each prompt
    assert len(seen) == 4 + 1 + 12
    assert encoded[0].prompt is encoded[1].prompt


def test_a_tokenizer_that_cannot_end_an_answer_is_refused() -> None:
    with pytest.raises(CptError, match="no EOS token"):
        with_template(tiny.tokenizer(eos=None))


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Any) -> None:
    tiny.model().save_pretrained(tmp_path)
    with pytest.raises(
        CptError, match=r"no tokenizer that can be loaded.*tokenizer\.json"
    ) as raised:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in raised.value.message and "\n" not in raised.value.message


def test_ids_are_whole_numbers() -> None:
    (encoded,) = encode([tiny.pair("a", "", "c")], TOKENIZER)
    assert encoded.prompt.dtype == encoded.chosen.ids.dtype == np.int64
