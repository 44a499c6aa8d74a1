"""Every value of a run has one address, and layers lie over each other."""

import json

import attrs
import pytest
from attrs.validators import min_len
from hypothesis import given
from hypothesis import strategies as st

from cpt import config
from cpt.cli.flags import FlagBuilder
from cpt.config import Layer, options
from cpt.errors import BadOptions, CptError
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.yamls import read_yaml
from cpt_dpo import Dpo

TREE = {"loss": {"name": "dpo", "beta": 0.1}, "train": {"epochs": 2}, "model": "tiny"}
FLAT = {"loss": "dpo", "loss.beta": 0.1, "train.epochs": 2, "model": "tiny"}

keys = st.text("abcdef", min_size=1, max_size=4)
trees = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def registry():
    return Registry.collect(load_plugins())


def test_there_and_back():
    assert dict(config.flatten(TREE)) == FLAT
    assert config.unflatten(FLAT) == TREE


@given(st.dictionaries(keys, trees, max_size=3))
def test_flattening_loses_nothing(tree):
    assert config.unflatten(dict(config.flatten(tree))) == tree


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        ({"loss": "dpo"}, FLAT),
        ({"loss.beta": 0.5}, FLAT | {"loss.beta": 0.5}),
        ({"model": "tiny"}, FLAT),
        ({"loss": "apo_zero"}, {"loss": "apo_zero", "train.epochs": 2, "model": "tiny"}),
    ],
)
def test_the_one_above_wins_and_another_component_drops_the_first_ones_options(above, expected):
    assert config.over(FLAT, above) == expected


def test_an_option_of_one_of_several_is_addressed_by_its_index():
    tree = config.unflatten({"pairer.rungs": ["a:1", "b:2"], "pairer.rungs.1.seed": 3})
    assert tree == {"pairer": {"rungs": ["a:1", {"name": "b:2", "seed": 3}]}}
    with pytest.raises(BadOptions, match=r"pairer\.rungs\.5\.seed: 5 is not one of 0 to 0"):
        config.unflatten({"pairer.rungs": ["a"], "pairer.rungs.5.seed": 3})


def test_a_line_is_read_before_its_flags_are_known():
    line = [
        "--loss",
        "dpo",
        "--loss.label-smoothing=0.1",
        "--json",
        "--p.rungs",
        "a",
        "--p.rungs",
        "b",
    ]
    assert config.preparse(line) == {
        "loss": "dpo",
        "loss.label_smoothing": "0.1",
        "p.rungs": ["a", "b"],
    }


def test_the_environment_speaks_in_addresses(monkeypatch):
    monkeypatch.setenv("CPT_LOSS__BETA", "0.3")
    monkeypatch.setenv("CPT_PLUGINS", "no:apo")
    values = config.environment().values
    assert values["loss.beta"] == "0.3"
    assert "plugins" not in values


def test_a_variable_that_is_wrong_is_called_by_its_name(registry, monkeypatch):
    monkeypatch.setenv("CPT_LOSS__BETTA", "0.3")
    layers = [Layer("the defaults", dict(config.DEFAULTS)), config.environment()]
    with pytest.raises(BadOptions, match=r"loss.betta: no such.*\(from CPT_LOSS__BETTA\)"):
        config.resolve(layers, registry)


def test_a_mapping_of_any_value_is_an_option(registry, monkeypatch):
    monkeypatch.setenv("CPT_TRAIN__CHAT_TEMPLATE_KWARGS__ENABLE_THINKING", "False")
    monkeypatch.setenv("CPT_TRAIN__CHAT_TEMPLATE_KWARGS__DEEP__LIMIT", "3")
    given = Layer(
        "a file",
        {"train.chat_template_kwargs.effort": "low", "train.chat_template_kwargs.date": "true"},
    )
    defaults = Layer("the defaults", dict(config.DEFAULTS))
    resolved = config.resolve([defaults, given, config.environment()], registry)
    assert resolved.train.chat_template_kwargs == {
        **{"effort": "low", "date": "true", "enable_thinking": False},
        "deep": {"limit": 3},
    }
    picked = config.merge([given])
    flags = {flag.address: flag for flag in FlagBuilder(registry, picked, {}).flags(config.Config)}
    effort = flags["train.chat_template_kwargs.effort"]
    texts = ("false", "True", "3", "2024-01-01", "[", '{"a": 1}')
    values = [False, True, 3, "2024-01-01", "[", {"a": 1}]
    assert [effort.type.convert(text, None, None) for text in texts] == values
    whole = flags["train.chat_template_kwargs"]
    assert whole.type.convert('{"a": 1}', None, None) == {"a": 1}


def test_later_layers_win(registry):
    layers = [
        Layer("the defaults", dict(config.DEFAULTS)),
        Layer("a.yaml", {"loss": "dpo", "loss.beta": 0.2, "train.epochs": 2}),
        Layer("the command line", {"loss.beta": "0.3"}),
    ]
    resolved = config.resolve(layers, registry)
    assert (resolved.loss, resolved.train.epochs) == (Dpo(beta=0.3), 2)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"loss.bta": 1}, r"loss\.bta: no such option\. Did you mean 'beta'\?.*from a\.yaml"),
        ({"los": "dpo"}, r"los: no such option\. Did you mean 'loss'\?"),
        ({"loss": "dpoo"}, r"loss: No loss is called 'dpoo'\. Did you mean 'dpo'\?"),
        ({"loss.beta": "hot"}, r"loss\.beta: expected a number, got 'hot'"),
        ({"loss.beta": "inf"}, r"loss\.beta: expected a number, got 'inf'"),
        ({"train": 3}, r"train: expected options by name, got 3 \(from a\.yaml\)"),
        ({"limit": [1]}, r"limit: expected a whole number, got \[1\]"),
        ({"limit": float("inf")}, r"limit: expected a whole number, got inf"),
        ({"train.learning_rate": None}, r"train\.learning_rate: expected a number, got None"),
        ({"model": True}, r"model: expected text, got True"),
        ({"train.device": "gpu"}, r"train\.device: expected one of auto, cpu, got 'gpu'"),
        ({"controls": [1]}, r"controls: expected options by name, got \[1\]"),
        (
            {"controls.a.loss": "sft", "controls.a.train.epoch": 2},
            r"a\.train\.epoch: no such option",
        ),
        (
            {"controls.a.train.epochs": "two"},
            r"controls\.a\.train\.epochs: expected a whole .*a\.yaml",
        ),
        ({"controls": {"more-sft": {}}}, r"controls: must have names of .*'more-sft'.*a\.yaml"),
        ({"controls.after.loss": "sft"}, r"controls: must have names of .* got 'after'"),
        ({"evaluators": ["judge"]}, r"evaluators\.0: No evaluator .* \(from a\.yaml\)"),
        ({"train.epochs": 1.5}, r"train\.epochs: expected a whole number, got 1\.5"),
        ({"train.truncate": "perhaps"}, r"train\.truncate: expected true or false"),
        ({"loss": ["dpo"]}, r"loss: expected NAME"),
        ({"scheduler": "shuffle:3"}, r"scheduler: 'shuffle' takes no argument"),
    ],
)
def test_an_error_has_address_culprit_remedy_and_source(registry, values, complaint):
    layers = [Layer("the defaults", dict(config.DEFAULTS)), Layer("a.yaml", values)]
    with pytest.raises(BadOptions, match=complaint):
        config.resolve(layers, registry)


def test_what_answers_in_an_evaluation_needs_no_model_of_its_own(registry):
    given = {"model": "tiny", "generator": "transformers", "generator.max_tokens": 9}
    found = config.resolve(config.stack([config.Layer("a file", given)], registry), registry)
    assert found.generator is not None
    assert (found.generator.name, found.generator.max_tokens) == ("transformers", 9)
    given = {"model": "tiny", "generator": "lab_ignorant"}
    found = config.resolve(config.stack([config.Layer("a file", given)], registry), registry)
    assert found.generator is not None
    assert found.generator.name == "lab_ignorant"


def test_what_must_be_long_enough_is_told_so(registry):
    @attrs.frozen
    class Several:
        judges: tuple[str, ...] = attrs.field(validator=min_len(2))

    with pytest.raises(BadOptions, match=r"^pairer\.judges: its length must be >= 2: 1$"):
        options.build(Several, {"judges": ["one"]}, registry, under="pairer")


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    (tmp_path / "run.yaml").write_text("- loss\n")
    with pytest.raises(BadOptions, match="expected options by name, got list"):
        config.read(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text("loss:\n  [dpo\n")
    complaint = r"not YAML \(expected .* in line 3, while parsing a flow sequence in line 2\)\.$"
    with pytest.raises(BadOptions, match=complaint):
        config.read(tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text("train: &train {epochs: *train}\n")
    with pytest.raises(BadOptions, match="an anchor holds itself"):
        config.read(tmp_path / "run.yaml")
    with pytest.raises(BadOptions, match="cannot be read"):
        config.read(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: 1\nlimit: 3\nseed: 2\n", r"line 3: 'seed' is given twice, first in line 1\."),
        ("train:\n  epochs: 1\n  seed: 2\n  epochs: 2\n", "line 4: 'epochs' is given twice"),
        ("loss: dpo\nloss: {name: apo_zero}\n", "line 2: 'loss' is given twice"),
        ("loss: {name: dpo, beta: 0.1}\nloss.beta: 0.2\n", "loss.beta is given twice, in two"),
    ],
)
def test_of_a_key_that_is_given_twice_none_wins(tmp_path, text, complaint):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(BadOptions, match=complaint) as caught:
        config.read(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert "\n" not in caught.value.message


def test_a_key_that_is_merged_may_be_given_again(tmp_path):
    file = tmp_path / "run.yaml"
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\nx: 4\n'1': a\n1: b\n"
    file.write_text(text)
    assert read_yaml(file)["c"] == {"x": 3, "y": 1}


def test_an_option_of_an_only_one_needs_no_index():
    values = {"evaluators": ["judged"], "evaluators.judge": "llm", "evaluators.judge.scale": 5}
    tree = {"evaluators": [{"name": "judged", "judge": {"name": "llm", "scale": 5}}]}
    assert config.unflatten(values) == tree
    with pytest.raises(BadOptions, match="which of the 2 is meant"):
        config.unflatten({"rungs": ["recorded:a", "recorded:b"], "rungs.source": "c"})


def test_a_type_that_is_unknown_at_run_time_is_one_line(registry):
    @attrs.frozen
    class Typed:
        count: "Unheard"  # type: ignore[name-defined]  # noqa: F821

    complaint = r"Typed: the type of an option is unknown \(name 'Unheard' is not defined\); import"
    with pytest.raises(CptError, match=complaint):
        options.fields(Typed)


def test_the_plugin_in_front_of_a_name_keeps_the_options_under_it():
    assert config.over(FLAT, {"loss": "dpo/dpo"}) == FLAT | {"loss": "dpo/dpo"}
    assert "loss.beta" not in config.over(FLAT, {"loss": "other"})


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "a.b": {}}}
DEFAULTS = Layer("the defaults", dict(config.DEFAULTS))


def test_a_mapping_of_any_values_is_one_value_whatever_its_names(registry, tmp_path):
    kwargs = {"name": "x", "effort": "low", "inner": {}}
    tree = {"responder": {"name": "server:m", "json_schema": SCHEMA}}
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({**tree, "train": {"chat_template_kwargs": kwargs}}))
    line = Layer("a line", {"train.chat_template_kwargs.effort": "high"})
    resolved = config.resolve([DEFAULTS, config.read(file), line], registry)
    assert resolved.responder is not None and resolved.responder.json_schema == SCHEMA
    assert resolved.train.chat_template_kwargs == {**kwargs, "effort": "high"}


def test_a_mapping_on_the_line_replaces_the_one_in_a_file(registry, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("train: {chat_template_kwargs: {a: 1, b: 2}}")
    line = Layer("a line", {"train.chat_template_kwargs": {"a": 3}})
    resolved = config.resolve([DEFAULTS, config.read(file), line], registry)
    assert resolved.train.chat_template_kwargs == {"a": 3}
