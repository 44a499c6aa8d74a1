"""What `lab:...` gives: prompts that nobody has seen, and models that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cpt
from cpt import config, paths
from cpt.data import read_pairs, read_prompts
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt_lab.presets import PRESETS
from cpt_lab.recipes import _study, make
from cpt_lab.settings import MODELS, PROMPTS, parse
from cpt_lab.tokenizer import make_tokenizer

from .commands import Commands
from .warm import WarmPython


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests alone."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPT_CACHE", str(folder))
        yield folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def asked(name: str) -> set[str]:
    return {prompt.text for prompt in read_prompts(make(name))}


def test_a_size_and_a_seed_may_come_before_a_name() -> None:
    large, name = parse("large/seed=2/care/weak")
    assert (large.hidden, large.layers, large.seed, name) == (96, 3, 2, "care/weak")
    assert large.folder != parse("seed=2/care/weak")[0].folder
    for wrong in (
        "large/",
        "large",
        "huge/test",
        "seed=x/test",
        "seed=1/large/test",
        "tiny/tiny/test",
    ):
        with pytest.raises(cpt.CptError, match="the lab has train, dev"):
            parse(wrong)


def test_the_sets_have_no_prompt_in_common() -> None:
    sets = [asked(name) for name in PROMPTS]
    assert [len(texts) for texts in sets] == [2000, 2000, 2000]
    assert len(set.union(*sets)) == 6000


def test_no_model_learns_from_a_held_out_prompt() -> None:
    settings, _ = parse("base")
    held_out = set.union(*(asked(name) for name in PROMPTS))
    for purpose, count in (("pretraining", 20_000), ("care 0.25", 6_000), ("policy", 6_000)):
        assert not held_out & {prompt for prompt, _ in _study(settings, purpose, count)}


def test_a_row_says_what_would_be_right() -> None:
    row = json.loads(make("tiny/test").read_text().splitlines()[0])
    assert set(row) == {"id", "prompt", "family", "right"}


def test_another_seed_asks_something_else() -> None:
    assert make("tiny/seed=1/test") != make("tiny/test")
    assert asked("tiny/seed=1/test") != asked("tiny/test")


def test_every_model_loads_and_answers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chat = [{"role": "user", "content": "Spell abc backwards."}]
    for name in MODELS:
        folder = make(f"tiny/{name}")
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        asked = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = model.generate(**asked, max_new_tokens=8, do_sample=False)
        assert tokenizer.decode(said[0]).startswith("<|user|>Spell abc backwards.<|assistant|>")
        assert model.config.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id


def test_models_of_one_lab_differ() -> None:
    weights = {
        name: contents(make(f"tiny/{name}"))["model.safetensors"]
        for name in MODELS
        if name != "base"
    }
    assert len(set(weights.values())) == len(weights)
    assert make("tiny/base") == make("tiny/skill/strong")


def test_what_is_made_twice_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(make("tiny/policy"))
    monkeypatch.setenv("CPT_CACHE", str(tmp_path))
    assert make("tiny/policy").is_relative_to(tmp_path)
    assert contents(make("tiny/policy")) == before


def test_what_is_there_is_not_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    folder = make("tiny/policy")
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    capsys.readouterr()
    assert make("tiny/policy") == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert capsys.readouterr().err == ""


def test_half_a_model_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process died while it made one: the draft is thrown away."""
    monkeypatch.setenv("CPT_CACHE", str(tmp_path))
    settings, _ = parse("tiny/base")
    draft = settings.folder / ".skill.draft" / "strong"
    draft.mkdir(parents=True)
    (draft / "half").touch()
    assert not (make("tiny/base") / "half").exists()
    assert not draft.exists()


def test_two_processes_make_it_once(warm: WarmPython, tmp_path: Path) -> None:
    code = "from cpt_lab.recipes import make; print(make('tiny/skill/weak'))"
    env = {"CPT_CACHE": str(tmp_path)}
    both = [warm.start("-c", code, cwd=tmp_path, env=env) for _ in range(2)]
    first, second = (process.end() for process in both)
    assert first.status == second.status == 0
    assert first.out == second.out
    assert (first.err + second.err).count("training skill") == 1


@pytest.mark.parametrize("name", ["", "models", "care/best", "huge/base", "seed=x/base", "tiny/"])
def test_an_unknown_name_is_told(name: str) -> None:
    with pytest.raises(cpt.CptError, match="the lab has train, dev, test, base"):
        make(name)


def test_the_scheme_is_offered() -> None:
    assert paths.resolve("lab:tiny/test") == str(make("tiny/test"))


def test_the_preset_is_what_a_run_is_made_of_that_is_told_nothing() -> None:
    registry = Registry.collect(load_plugins())
    whole = config.resolve(config.stack([], registry), registry)
    assert whole.pairer is not None and whole.pairer.name == "clair"
    assert whole.prompts == "lab:train" and whole.eval_prompts == "lab:test"
    assert set(whole.controls) == set(PRESETS["lab"]["controls"])


@pytest.mark.parametrize("method", ["", "--pairer ladder --scheduler curriculum"])
def test_the_whole_pipeline(commands: Commands, method: str, tmp_path: Path) -> None:
    """With models that know next to nothing: what they score says nothing either."""
    line = ["--preset", "lab_tiny", "--output", tmp_path / "run", *method.split()]
    ended = commands.one(*line, cwd=tmp_path)
    assert ended.status == 0, ended.err
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert set(scores) == {"before", "after", *PRESETS["lab_tiny"]["controls"]}
    for named in scores.values():
        assert set(named) == {"judged/sampled", "judged/greedy"}
        assert all(len(score["each"]) == 60 for score in named.values())
    pairs = read_pairs(tmp_path / "run" / "controls" / "sft_strong" / "pairs.parquet")
    assert {pair.rejected.author for pair in pairs} == {"lab_ignorant"}


@pytest.mark.parametrize("pairer", PRESETS["lab"]["options"]["pairer"])
def test_the_preset_knows_other_pairers(pairer: str) -> None:
    registry = Registry.collect(load_plugins())
    line = config.Layer("the line", {"pairer": pairer})
    whole = config.resolve(config.stack([line], registry), registry)
    assert whole.pairer is not None and whole.pairer.name == pairer


@given(st.text())
def test_the_tokenizer_keeps_every_text(text: str) -> None:
    tokenizer = TOKENIZER
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_common_words_are_one_token() -> None:
    assert len(TOKENIZER("Spell the odd word out.")["input_ids"]) == 6
    assert len(TOKENIZER("zyx")["input_ids"]) == 3


TOKENIZER = make_tokenizer()
