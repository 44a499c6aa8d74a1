"""A stand-in for the hub: what uploading a model asks of it, over HTTP on this machine."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import attrs

TOKENS = {"hf_of_ada_0123456789": "ada"}
MODEL = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(preupload|commit)/main)?")
LARGE = ".safetensors"


@attrs.define
class Repository:
    public: bool
    files: dict[str, bytes] = attrs.field(factory=dict)


@attrs.define
class Hub:
    url: str = ""
    repositories: dict[str, Repository] = attrs.field(factory=dict)
    objects: dict[str, bytes] = attrs.field(factory=dict)
    """Large files, by SHA-256."""
    asked: list[str] = attrs.field(factory=list)
    """Method and path of every request about models."""

    def answer(self, path: str, owner: str | None, body: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer to a request of the owner of its token."""
        if path.startswith("/objects/"):
            self.objects[path.rpartition("/")[2]] = body
            return 200, {}
        if path == "/api/repos/create":
            return self._create(owner, json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch(json.loads(body)["objects"])
        if not (found := MODEL.fullmatch(path)):
            return 404, {}
        name, what = found.groups()
        if what is None:
            return self._info(name)
        if owner != name.partition("/")[0]:
            return 403, {"error": "You don't have the rights"}
        return self._modes(json.loads(body)) if what == "preupload" else self._commit(name, body)

    def _create(self, owner: str | None, asked: Any) -> tuple[int, Any]:
        name = f"{asked['organization'] or owner}/{asked['name']}"
        if owner is None:
            return 401, {"error": "Invalid username or password."}
        if asked["organization"] not in (None, owner):
            return 403, {"error": "You don't have the rights to create a model under this name"}
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": self._at(name)}
        self.repositories[name] = Repository(asked["visibility"] == "public")
        return 200, {"url": self._at(name)}

    def _at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _info(self, name: str) -> tuple[int, Any]:
        if found := self.repositories.get(name):
            return 200, {"id": name, "private": not found.public, "tags": []}
        return 404, {"error": "Repository not found"}

    def _validate(self, card: str) -> tuple[int, Any]:
        """As the hub does it, a base model that is no hub id is an error."""
        base = re.search(r"^base_model: (.*)$", card, re.MULTILINE)
        if base and not re.fullmatch(r"[\w.-]+/[\w.-]+", base[1]):
            said = f'"base_model" with value "{base[1]}" is not valid.'
            return 400, {"errors": [{"message": said}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _modes(self, asked: Any) -> tuple[int, Any]:
        paths = [file["path"] for file in asked["files"]]
        modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in paths}
        return 200, {
            "files": [
                {"path": path, "uploadMode": mode, "shouldIgnore": False}
                for path, mode in modes.items()
            ]
        }

    def _batch(self, asked: Any) -> tuple[int, Any]:
        upload = [{**one, "actions": self._actions(one["oid"])} for one in asked]
        return 200, {"transfer": "basic", "objects": upload}

    def _actions(self, oid: str) -> Any:
        known = oid in self.objects
        return {} if known else {"upload": {"href": f"{self.url}/objects/{oid}", "header": {}}}

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        files = self.repositories[name].files
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        return 200, {"commitUrl": f"{self._at(name)}/commit/{'0' * 40}", "commitOid": "0" * 40}


@contextmanager
def serving() -> Iterator[Hub]:
    """The stand-in, which answers at its `url` inside the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            # What the library asks for statistics of its own is not about models.
            if "agent" not in path:
                hub.asked.append(f"{self.command} {path}")
            status, made = hub.answer(path, TOKENS.get(token), body)
            text = json.dumps(made).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = respond

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
