"""What the server lets in and gives out, asked for by raw requests."""

import json
import shutil
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import MAX_MB
from tests.app.driver import EXAMPLES, ROOT, Server

pytestmark = pytest.mark.browser

HALL = EXAMPLES / "worker_in_a_hall.mp4"


def fetch(url: str, *, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a request."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post_file(server: Server, content: bytes, name: str = "clip.mp4") -> tuple[int, bytes]:
    """Upload by a POST of one's own making."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    data = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return fetch(f"{server.url}/gradio_api/upload", data=data, headers=headers)


def uploaded(server: Server, content: bytes, name: str = "clip.mp4") -> Path:
    """Where the server put an upload that it took."""
    status, body = post_file(server, content, name)
    assert status == 200, body
    return Path(json.loads(body)[0])


def open_by_path(server: Server, path: Path) -> dict[str, Any]:
    """Name a file on the server as the video, as the page does with its upload; how the request ended."""
    config = json.loads(fetch(f"{server.url}/config")[1])
    takes_file = next(each for each in config["dependencies"] if any(kind == "upload" for _, kind in each["targets"]))
    tab = uuid.uuid4().hex
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    data = json.dumps({"fn_index": takes_file["id"], "session_hash": tab, "data": [file]}).encode()
    headers = {"Content-Type": "application/json"}
    status, body = fetch(f"{server.url}/gradio_api/queue/join", data=data, headers=headers)
    assert status == 200, body
    status, body = fetch(f"{server.url}/gradio_api/queue/data?session_hash={tab}")
    assert status == 200, body
    messages = [json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if line]
    return next(message for message in messages if message["msg"] == "process_completed")


def test_the_server_itself_enforces_the_upload_limit(server: Server) -> None:
    status, body = post_file(server, bytes(MAX_MB * 1024 * 1024 + 1))
    assert status == 413
    assert b"maximum allowed size" in body
    uploads = uploaded(server, HALL.read_bytes()).parents[1]
    assert sum(path.stat().st_size for path in uploads.rglob("*") if path.is_file()) < MAX_MB * 1024 * 1024


@pytest.mark.parametrize("name", ["../../escape.mp4", "/etc/escape.mp4", "..\\escape.mp4"])
def test_an_upload_cannot_choose_its_folder(server: Server, name: str) -> None:
    uploads = uploaded(server, b"x" * 100).parents[1]
    path = uploaded(server, b"x" * 100, name)
    assert path.resolve() == path
    assert path.name.endswith("escape.mp4")
    assert path.parents[1] == uploads
    assert [found for found in uploads.parent.rglob("*escape*") if uploads not in found.parents] == []


def test_files_outside_the_uploads_are_not_served(server: Server, tmp_path: Path) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_text("the canary's song")
    upload = uploaded(server, b"y" * 100)
    lock = next(parent / "lock" for parent in upload.parents if (parent / "lock").exists())
    asked = [
        str(canary),
        "/etc/passwd",
        str(ROOT / "requirements.txt"),
        "requirements.txt",
        "../../requirements.txt",
        str(HALL),
        str(lock),
        f"{upload.parent}/../../lock",
        f"file://{canary}",
    ]
    for path in asked:
        status, body = fetch(f"{server.url}/gradio_api/file={path}")
        assert status in (403, 404), path
        assert b"canary's song" not in body
    assert fetch(f"{server.url}/gradio_api/file={upload}")[0] == 200


def test_a_file_outside_the_uploads_cannot_be_named_as_the_video(server: Server, tmp_path: Path) -> None:
    taken = open_by_path(server, uploaded(server, HALL.read_bytes()))
    assert taken["success"]
    assert "the model saw 8" in json.dumps(taken["output"])
    for path in (HALL, Path(shutil.copy(HALL, tmp_path / "private.mp4"))):
        refused = open_by_path(server, path)
        assert not refused["success"]
        assert "the model saw" not in json.dumps(refused["output"])
        assert f"InvalidPathError: Cannot move {path}" in server.log.read_text(encoding="utf-8")


def test_no_function_is_offered_to_programs(server: Server) -> None:
    status, body = fetch(f"{server.url}/gradio_api/info")
    assert status == 200
    assert json.loads(body) == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_the_page_reports_to_nobody(server: Server) -> None:
    config = json.loads(fetch(f"{server.url}/config")[1])
    assert not config["analytics_enabled"]
    assert not config.get("run_history", False)
    assert not config.get("is_space", False)
