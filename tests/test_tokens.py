"""Text to token ids: where a prompt ends, and what an answer is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from cpt import CptError, Message
from cpt.models import load_tokenizer, with_template
from cpt.training.data.tokens import (
    AT_ONCE,
    _Encoder,
    _Tail,
    encode,
)

from . import tiny

TOKENIZER = tiny.tokenizer()
PIECES = [
    *"abcdA \n",
    "é",
    "e\u0301",
    "<",
    "|",
    "▁",
    "ab cd",
    "dA adA",
    "<|im_end|>",
    "<|im_",
    "<unk>",
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def both(encoded: Any, side: str = "chosen") -> list[int]:
    return [*encoded.prompt.tolist(), *getattr(encoded, side).ids.tolist()]


def rendered(pair: Any) -> str:
    chat = [attrs.asdict(turn) for turn in pair.prompt.messages]
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


def fast(model: Any, *added: Any, **parts: Any) -> Any:
    """A tokenizer of the Rust library, with its added tokens and other parts."""
    made = Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    made.add_tokens([*(AddedToken(token, special=True) for token in SPECIAL), *added])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")


def short() -> Any:
    """A tokenizer whose file says that texts are cut and filled up."""
    made = tiny.tokenizer()
    made.backend_tokenizer.enable_truncation(4)
    made.backend_tokenizer.enable_padding(length=9)
    return made


def numbered(*words: str) -> dict[str, int]:
    return {word: at for at, word in enumerate(dict.fromkeys(["<unk>", *words]))}


SPECIAL = ["<|im_start|>", "<|im_end|>"]
LETTERS = [*"abcdAé \n▁:<|>_im", "user", "assistant"]
MERGES = [("a", "b"), ("▁", "a"), ("ab", "▁a"), ("\n", "\n"), (":", "▁"), ("c", "d"), ("cd", "A")]
SPACED = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]


def bpe() -> Any:
    words = numbered(*LETTERS, *("".join(pair) for pair in MERGES))
    return models.BPE(vocab=words, merges=MERGES, unk_token="<unk>", fuse_unk=True)


def unigram() -> Any:
    words = [*LETTERS, "ab", "abc", "▁a", ":▁", "cd", "\n\n", "dA", "<|"]
    return models.Unigram([("<unk>", 0.0), *((word, -2.0 - len(word) / 9) for word in words)], 0)


def wordpiece() -> Any:
    words = numbered("a", "ab", "##c", "##d", "cd", "##ab", ":", "<", "|", ">", "##a", "user")
    return models.WordPiece(words, unk_token="<unk>")


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level": tiny.tokenizer,
    "byte-level by words": lambda: fast(
        models.BPE(
            numbered(*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "Ġa"), [("a", "b")]
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
    ),
    "one word": lambda: fast(bpe(), normalizer=normalizers.Sequence(SPACED)),
    "first": lambda: fast(bpe(), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")),
    "always": lambda: fast(
        unigram(), normalizer=normalizers.NFKC(), pre_tokenizer=pre_tokenizers.Metaspace()
    ),
    "stripped": lambda: fast(
        unigram(), normalizer=normalizers.Sequence([normalizers.Strip(), normalizers.NFD()])
    ),
    "words": lambda: fast(
        wordpiece(),
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    ),
    "whole words": lambda: fast(
        models.WordLevel(numbered("ab", "cd", "a", "b"), unk_token="<unk>"),
        pre_tokenizer=pre_tokenizers.Whitespace(),
    ),
    "added": lambda: fast(
        bpe(),
        AddedToken("ab cd", normalized=True),
        AddedToken("cd", lstrip=True, rstrip=True, normalized=False),
        AddedToken("dA", single_word=True, normalized=False),
        AddedToken("\nab", normalized=False),
        AddedToken("<unk>", special=True),
        normalizer=normalizers.Sequence(SPACED),
    ),
    "cut and padded": short,
    "in Python": lambda: ByT5Tokenizer(eos_token="<|im_end|>", extra_ids=2),
}
TEMPLATES = {
    "marked": tiny.CHATML,
    "marked at the end": tiny.CHATML.replace("assistant\n{% endif %}", "{% endif %}").replace(
        "{{ message['role'] }}\n", ""
    ),
    "spoken": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
    "bare": "{% for m in messages %}{{ m.content }}{% endfor %}",
    "trimmed": "{% for m in messages %}{{ m.content | trim }}<|im_end|>{% endfor %}",
}


ALONE = {"add_special_tokens": False}


def behind_a_letter(text: str, tokenizer: Any) -> list[int]:
    """Ids of a text that begins no word: without the blank that sentencepiece puts first."""
    for before in ("a", "b", "0", ".", ":", "\n"):
        first, both = (tokenizer(said, **ALONE).input_ids for said in (before, before + text))
        if both[: len(first)] == first:
            return list(both[len(first) :])
    return list(tokenizer(text, **ALONE).input_ids)


def plainly(pair: Any, text: str, tokenizer: Any) -> tuple[list[int], list[int], bool]:
    """Ids of a prompt and of what follows it, by calls of the tokenizer on whole texts alone."""
    chat = [attrs.asdict(turn) for turn in pair.prompt.messages]
    prompt, whole = (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
        for messages, asked in (
            (chat, True),
            ([*chat, {"role": "assistant", "content": text}], False),
        )
    )
    assert whole.startswith(prompt)
    first, all_, alone = (
        tokenizer(text, add_special_tokens=False).input_ids
        for text in (prompt, whole, whole[len(prompt) :])
    )
    merged = all_[: len(first)] != first
    if merged and tokenizer.convert_ids_to_tokens(tokenizer("a", **ALONE).input_ids)[0][0] in "▁Ġ":
        alone = behind_a_letter(whole[len(prompt) :], tokenizer)
    return first, alone if merged else all_[len(first) :], merged


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(asked=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_ids_are_those_of_plain_calls(kind: str, template: str, asked: list[Any]) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = TEMPLATES[template]
    pairs = [tiny.pair(*texts) for texts in asked]
    for pair, encoded in zip(pairs, encode(pairs, tokenizer), strict=True):
        for side in ("chosen", "rejected"):
            prompt, answer, merged = plainly(pair, getattr(pair, side).text, tokenizer)
            found = getattr(encoded, side)
            assert encoded.prompt.tolist() == prompt
            assert found.ids.tolist() == [*answer, *[tokenizer.eos_token_id] * (not found.ended)]
            assert found.merged is merged


def test_anchors_are_the_tokens_that_a_text_is_cut_at_before_all_else() -> None:
    encoder = _Encoder.of(KINDS["added"]())
    assert {*encoder.anchors.values()} == {*SPECIAL, "cd", "dA", "\nab", "<unk>"}


@pytest.mark.parametrize(
    ("prompt", "tail"),
    [
        ("", ""),
        ("abcd", "abcd"),
        ("<|im_end|>ab", "<|im_end|>ab"),
        ("ab<|im_end|>", "<|im_end|>"),
        ("<|im_start|>a<|im_end|>b", "<|im_end|>b"),
        ("<|im_end|>a<|im_end|>b<|im_end|>", "<|im_end|>"),
        ("<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>assistant\n"),
    ],
)
def test_the_end_of_a_prompt_begins_with_its_last_anchor(prompt: str, tail: str) -> None:
    encoder = _Encoder.of(TOKENIZER)
    known = encoder.ids([prompt, tail])
    assert encoder.from_last_anchor(prompt, known[prompt]) == tail
    assert encoder.tails({prompt: known[prompt]}) == {prompt: _Tail(tail, known[tail])}


def test_an_anchor_that_no_text_was_written_for_cuts_nothing() -> None:
    encoder = _Encoder.of(KINDS["added"]())
    ids = encoder.ids(["a?b"])["a?b"]
    assert "<unk>" in {encoder.anchors.get(id_) for id_ in ids}
    assert encoder.from_last_anchor("a?b", ids) == "a?b"


def test_an_end_that_reads_otherwise_by_itself_is_none() -> None:
    """What looks like the anchor is a part of a word here, and its first letter merges."""
    words = models.BPE(numbered(*"abcdA ", "cd"), [("c", "d")], unk_token="<unk>")
    encoder = _Encoder.of(fast(words, AddedToken("dA", single_word=True, normalized=False)))
    prompt = "dA cdAb"
    whole = encoder.ids([prompt])
    assert encoder.from_last_anchor(prompt, whole[prompt]) == "dAb"
    assert encoder.ids(["dAb"])["dAb"][1:] == whole[prompt][-2:]
    assert encoder.tails(whole) == {prompt: _Tail(prompt, whole[prompt])}


@pytest.mark.parametrize(("behind", "ended"), [("", True), ("dcb", True), ("dcba", False)])
def test_an_end_is_the_end_if_little_comes_behind_it(behind: str, ended: bool) -> None:
    template = "{% for m in messages %}{{ m.content }}<|im_end|>" + behind + "{% endfor %}"
    (encoded,) = encode([tiny.pair("a", "d", "b")], tiny.tokenizer(template=template))
    assert encoded.chosen.ended is ended
    added = "" if ended else "<|im_end|>"
    assert TOKENIZER.decode(encoded.chosen.ids) == f"d<|im_end|>{behind}{added}"


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


def test_an_answer_behind_a_line_end_gets_no_blank() -> None:
    """Metaspace marks the start of every text, but an answer starts none."""
    tokenizer = KINDS["always"]()
    tokenizer.chat_template = tiny.CHATML
    (encoded,) = encode([tiny.pair("ab", "\nab", "cd")], tokenizer)
    assert encoded.chosen.merged
    tokens = tokenizer.convert_ids_to_tokens(encoded.chosen.ids)
    assert tokens == ["\n", "ab", "<|im_end|>", "▁", "\n"]


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
    assert TOKENIZER.decode(both(encoded)).endswith(
        "assistant\n<think>\n\n</think>\n\ncd<|im_end|>\n"
    )


def test_a_template_refuses_only_what_it_refuses() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    asked = [tiny.pair(f"ab{number}", "cd", "dc") for number in range(5)]
    system = attrs.evolve(asked[2].prompt, messages=(Message("system", "a"), Message("user", "b")))
    asked[2] = attrs.evolve(asked[2], prompt=system)
    encoded = list(encode(asked, tiny.tokenizer(template=strict + tiny.CHATML)))
    assert [bool(pair.chosen.problem) for pair in encoded] == [False, False, True, False, False]
    assert "No system" in encoded[2].chosen.problem


@pytest.mark.parametrize("broken", ["{{ messages[0].content", "{{ messages[0].content + 1 }}"])
def test_a_template_that_does_not_work_is_a_problem_of_the_pair(broken: str) -> None:
    (encoded,) = encode([tiny.pair("ab", "cd", "dc")], tiny.tokenizer(template=broken))
    assert "the chat template refuses it" in encoded.chosen.problem
    assert not len(encoded.prompt) and not len(encoded.chosen.ids)


class Counting(PreTrainedTokenizerFast):
    """Notes what it was called with, and waits after the first block if it is asked to."""

    seen: ClassVar[Counter[str]] = Counter()
    open: ClassVar[Event] = Event()

    def __call__(self, text: Any, **rest: Any) -> Any:
        if len(self.seen) >= 3 * AT_ONCE:
            self.open.wait()
        self.seen.update(text if isinstance(text, list) else [text])
        return super().__call__(text, **rest)


@pytest.fixture
def counting() -> Any:
    Counting.seen.clear()
    Counting.open.set()
    tokenizer = Counting(tokenizer_object=TOKENIZER.backend_tokenizer, eos_token="<|im_end|>")
    tokenizer.chat_template = tiny.CHATML
    return tokenizer


def test_every_distinct_text_is_encoded_once(counting: Any) -> None:
    ladder = tiny.ladder(prompts=300, rungs=3)
    encoded = list(encode(iter(ladder), counting))
    assert [found.pair for found in encoded] == ladder
    assert encoded[0].prompt is encoded[1].prompt
    # 300 prompts, 3 answers to each
    assert set(Counting.seen.values()) == {1}
    assert len(Counting.seen) == 300 + 900
    for quick, slow in zip(encode(ladder, TOKENIZER), encoded, strict=False):
        assert both(quick) == both(slow) and both(quick, "rejected") == both(slow, "rejected")


def test_what_is_not_asked_for_any_more_is_not_encoded(counting: Any) -> None:
    Counting.open.clear()
    stream = encode(tiny.ladder(prompts=30 * AT_ONCE, rungs=2), counting)
    next(stream)
    Counting.open.set()
    del stream
    assert len(Counting.seen) < 15 * 3 * AT_ONCE


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
