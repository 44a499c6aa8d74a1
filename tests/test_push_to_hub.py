"""`--push-to-hub`, with a stand-in for the hub: nothing is sent unless it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from cpt import CptError
from cpt.data import write_pairs
from cpt.errors import Stopped
from cpt.models import hub

from . import tiny
from .hub_stand_in import TOKENS, Hub, Repository, serving

TOKEN = next(iter(TOKENS))
NAME = "ada/tiny"
TRAIN = (
    *("train", "--model", "base", "--pairs", "pairs.jsonl", "--loss", "dpo", "--output", "run"),
    *("--train.batch-size", "4", "--train.device", "cpu"),
)
PUSH = (*TRAIN, "--push-to-hub", NAME)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as found:
        # What HF_ENDPOINT, HF_TOKEN and HF_HUB_DISABLE_XET say when the library is imported.
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


@pytest.fixture
def cli(cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    tiny.folder(tmp_path / "base")
    write_pairs(tmp_path / "pairs.jsonl", tiny.pairs(8))
    return cpt_cli


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_the_model_is_uploaded_with_its_card_for_its_owner_alone(
    cli: Any, there: Hub, tmp_path: Path
) -> None:
    ended = cli(*PUSH)
    assert ended.exit_code == 0, ended.stderr
    assert f"hub       {there.url}/{NAME}\n" in ended.stdout
    sent = there.repositories[NAME]
    assert not sent.public
    folder = tmp_path / "run" / "model"
    assert sent.files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert "Trained from" in sent.files["README.md"].decode()
    assert NAME not in (tmp_path / "run" / "run.yaml").read_text()
    there.asked.clear()
    assert cli(*TRAIN).exit_code == 0
    assert there.asked == []


def test_what_failed_to_be_sent_is_sent_by_the_same_command_without_training(
    cli: Any, there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    ended = cli(*PUSH, "--json")
    assert ended.exit_code == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"cpt: --push-to-hub {NAME}: the hub cannot be reached (")
    assert last.endswith("the same command tries the upload again, without training.")
    assert '"stages"' in ended.stdout
    weights = tmp_path / "run" / "model" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    monkeypatch.setattr(constants, "ENDPOINT", there.url)
    ended = cli(*PUSH, "--json")
    assert ended.exit_code == 0
    assert ended.stderr.endswith(f"hub       {there.url}/{NAME}\n")
    assert "loss" not in ended.stderr
    assert weights.stat().st_mtime_ns == written
    assert there.repositories[NAME].files["model.safetensors"] == weights.read_bytes()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ((*TRAIN, "--push-to-hub", "tiny"), "must be OWNER/NAME"),
        ((*TRAIN, "--push-to-hub", "a/b/c"), "must be OWNER/NAME"),
        ((*TRAIN, "--public"), "--push-to-hub OWNER/NAME"),
        ((*PUSH, "--dry-run"), ""),
    ],
)
def test_nothing_is_sent_or_made_for(
    cli: Any, there: Hub, tmp_path: Path, line: tuple[str, ...], said: str
) -> None:
    ended = cli(*line)
    assert ended.exit_code == (2 if said else 0)
    assert said in ended.stderr
    assert there.asked == []
    assert not (tmp_path / "run").exists()


def test_without_a_token_nothing_begins(
    cli: Any, there: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    ended = cli(*PUSH)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)
    assert "there is no token for the hub; `hf auth login`, or set HF_TOKEN." in ended.stderr
    assert not (tmp_path / "run").exists()


def test_somebody_elses_name_is_one_line_without_the_token(there: Hub, model: Path) -> None:
    there.repositories["bob/tiny"] = Repository(public=True)
    for public in (False, True):
        with pytest.raises(Stopped) as refused:
            hub.push(model, "bob/tiny", public=public)
        assert TOKEN not in str(refused.value)
        assert str(model) in str(refused.value)
    assert "this token may not write there" in str(refused.value)
    assert there.repositories["bob/tiny"].files == {}


def test_a_wrong_token_is_refused(there: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody_0123456789")
    with pytest.raises(Stopped, match="this token may not write there"):
        hub.push(model, NAME)


@pytest.mark.parametrize(
    "said",
    [
        (400, {"error": f"no {{}} {'x' * 200}{TOKEN}"}),
        (500, f"{'x' * 225}{TOKEN}"),
        (200, {"url": TOKEN}),
        (200, {}),
        (200, [TOKEN]),
        (200, TOKEN),
    ],
)
def test_whatever_the_hub_says_is_one_line_without_the_token(
    there: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[int, Any]
) -> None:
    monkeypatch.setattr(Hub, "answer", lambda *_: said)
    hub.check(NAME)
    with pytest.raises(Stopped) as stopped:
        hub.push(model, NAME)
    parts = {TOKEN[start : start + 8] for start in range(len(TOKEN) - 7)}
    assert not [part for part in parts if part in stopped.value.format_message()]


@pytest.mark.parametrize("public", [False, True])
def test_who_sees_a_repository_is_not_changed(there: Hub, model: Path, public: bool) -> None:
    there.repositories[NAME] = Repository(public=not public)
    with pytest.raises(Stopped, match="leave out --public" if public else "add --public"):
        hub.push(model, NAME, public=public)
    assert there.repositories[NAME].public is not public
    assert there.repositories[NAME].files == {}
    there.repositories[NAME].public = public
    hub.push(model, NAME, public=public)
    assert there.repositories[NAME].files == {"config.json": b"{}"}


def test_a_card_that_the_hub_refuses_is_one_line(there: Hub, model: Path) -> None:
    (model / "README.md").write_text("---\nbase_model: /here/only\n---\n")
    with pytest.raises(Stopped, match=r'"base_model" with value "/here/only" is not valid'):
        hub.push(model, NAME)


def test_an_id_is_read_from_the_cache_of_the_hub() -> None:
    cached = Path("/cache/hub/models--Qwen--Qwen3-0.6B/snapshots/abc")
    assert hub.id_of(cached) == "Qwen/Qwen3-0.6B"
    assert hub.id_of(Path("/home/models/mine")) is None


def test_a_name_is_checked_before_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(CptError, match="must be OWNER/NAME"):
        hub.check("no name")
