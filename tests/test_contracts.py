"""The bundled components keep the promises asked of everyone's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.testing import MonotoneLossContract, ResponderContract
from cpt_anthropic.responder import Anthropic
from cpt_apo.losses import ApoDown, ApoZero
from cpt_dpo import Dpo
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server
from cpt_slic import Sft, Slic

from .threaded import completion, served


def test_every_bundled_component_has_a_contract() -> None:
    """Here or beside its other tests."""
    sources = (path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    held = {
        made for text in sources if "Contract):" in text for made in re.findall(r"(\w+)\(", text)
    }
    components = Registry.collect(load_plugins()).components.values()
    bundled = {cls.__name__ for cls in components if cls.__module__.startswith("cpt_")}
    assert bundled - held == set()


class TestApoZero(MonotoneLossContract):
    component = ApoZero(beta=0.3)


class TestApoDown(MonotoneLossContract):
    component = ApoDown(beta=0.3)
    breaks: ClassVar = {
        "test_the_chosen_is_never_discouraged": "lowers it too, while the rejected falls further"
    }


class TestDpo(MonotoneLossContract):
    component = Dpo(beta=0.3)


class TestConservativeDpo(MonotoneLossContract):
    component = Dpo(beta=0.01, label_smoothing=0.1)


class TestSft(MonotoneLossContract):
    component = Sft()


class TestSlic(MonotoneLossContract):
    component = Slic()


class TestSlicOfMeans(MonotoneLossContract):
    component = Slic(delta=0.5, over="mean")


class TestOpenAI(ResponderContract):
    secrets = ("OPENAI_API_KEY",)

    @pytest.fixture(autouse=True)
    def _component(self) -> Iterator[None]:
        with served(completion("Four.")) as address:
            self.component = OpenAI("m", base_url=f"{address}/v1")
            yield


class TestServer(ResponderContract):
    @pytest.fixture(autouse=True)
    def _component(self) -> Iterator[None]:
        with served(completion("Four.")) as address:
            self.component = Server("m", base_url=(f"{address}/v1",))
            yield


class TestAnthropic(ResponderContract):
    secrets = ("ANTHROPIC_API_KEY",)

    @pytest.fixture(autouse=True)
    def _component(self) -> Iterator[None]:
        with served(MESSAGE) as address:
            self.component = Anthropic("m", base_url=address)
            yield


MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Four."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 4, "output_tokens": 3},
}
