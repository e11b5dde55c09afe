"""A hub on 127.0.0.1: as much of the Hugging Face hub's protocol as a download and an upload need."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME = "someone/faces"
SHA = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves the files of `folder` as NAME; what is uploaded lands there. `posted` lists what was sent where.

    refuse: an HTTP status that every POST is answered with, or 0.
    """

    folder: Path
    url = ""
    refuse = 0
    posted: list[tuple[str, bytes]]

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._get(body=False)

    def do_GET(self):
        self._get(body=True)

    def _get(self, body: bool):
        files = {p.name: p.read_bytes() for p in self.folder.iterdir()} if self.folder.is_dir() else {}
        if self.path.startswith(f"/api/models/{NAME}"):
            content = {"id": NAME, "sha": SHA, "siblings": [{"rfilename": name} for name in files]}
            if "/tree/" in self.path:
                content = [
                    {"type": "file", "path": name, "size": len(b), "oid": SHA} for name, b in files.items()
                ]
            self._answer(json.dumps(content).encode(), body)
            return
        name = self.path.rpartition("/")[2]
        if name not in files or NAME not in self.path:
            self.send_error(404)
            return
        self._answer(files[name], body)

    def do_POST(self):
        content = self._content()
        self.posted.append((self.path, content))
        answer = {}
        if self.refuse:
            self._answer(b'{"error": "this token may not write"}', True, self.refuse)
            return
        if self.path == "/api/repos/create":
            answer = {"url": f"{self.url}/{NAME}"}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(content)["files"]]
            answer = {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        elif "/commit/" in self.path:
            answer = {"commitUrl": f"{self.url}/{NAME}/commit/{SHA}", "commitOid": SHA, "success": True}
            self.folder.mkdir(exist_ok=True)
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    (self.folder / file["path"]).write_bytes(base64.b64decode(file["content"]))
        self._answer(json.dumps(answer).encode(), True)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while count := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(count))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, content: bytes, body: bool, status: int = 200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"' + hashlib.sha1(content).hexdigest() + '"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub_server(tmp_path, monkeypatch):
    """The class Hub of a server that is running; its folder and the client's cache are in tmp_path."""
    from huggingface_hub import constants

    class Running(Hub):
        folder, posted = tmp_path / "served", []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Running)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Running.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", Running.url)
    template = f"{Running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield Running
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(hub_server):
    """The folder that the running hub serves as NAME."""
    return hub_server.folder
