"""What the server lets in and gives out, asked for by raw requests."""

import json
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.app.conftest import MAX_MB
from tests.app.driver import EXAMPLES, ROOT, Server

pytestmark = pytest.mark.browser


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


def test_the_server_itself_enforces_the_upload_limit(server: Server) -> None:
    status, body = post_file(server, bytes(MAX_MB * 1024 * 1024 + 1))
    assert status == 413
    assert b"maximum allowed size" in body
    status, body = post_file(server, (EXAMPLES / "worker_in_a_hall.mp4").read_bytes())
    assert status == 200
    uploads = Path(json.loads(body)[0]).parents[1]
    assert sum(path.stat().st_size for path in uploads.rglob("*") if path.is_file()) < MAX_MB * 1024 * 1024


@pytest.mark.parametrize("name", ["../../escape.mp4", "/etc/escape.mp4", "..\\escape.mp4"])
def test_an_upload_cannot_choose_its_folder(server: Server, name: str) -> None:
    status, body = post_file(server, b"x" * 100, name)
    if status == 200:
        path = Path(json.loads(body)[0]).resolve()
        assert "uploads" in path.parts
    assert not list(ROOT.glob("escape*"))


def test_files_outside_the_uploads_are_not_served(server: Server, tmp_path: Path) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_text("the canary's song")
    upload = Path(json.loads(post_file(server, b"y" * 100)[1])[0])
    lock = next(parent / "lock" for parent in upload.parents if (parent / "lock").exists())
    asked = [
        str(canary),
        "/etc/passwd",
        str(ROOT / "requirements.txt"),
        "requirements.txt",
        "../../requirements.txt",
        str(EXAMPLES / "worker_in_a_hall.mp4"),
        str(lock),
        f"{upload.parent}/../../lock",
        f"file://{canary}",
    ]
    for path in asked:
        status, body = fetch(f"{server.url}/gradio_api/file={path}")
        assert status in (403, 404), path
        assert b"canary's song" not in body
    assert fetch(f"{server.url}/gradio_api/file={upload}")[0] == 200


def test_a_file_outside_the_uploads_cannot_be_named_as_the_video(server: Server) -> None:
    config = json.loads(fetch(f"{server.url}/config")[1])
    clip = EXAMPLES / "worker_in_a_hall.mp4"
    takes_file = next(each for each in config["dependencies"] if any(kind == "upload" for _, kind in each["targets"]))
    session = uuid.uuid4().hex
    body = {
        "fn_index": takes_file["id"],
        "session_hash": session,
        "data": [{"path": str(clip), "meta": {"_type": "gradio.FileData"}}],
    }
    headers = {"Content-Type": "application/json"}
    fetch(f"{server.url}/gradio_api/queue/join", data=json.dumps(body).encode(), headers=headers)
    before = server.log.read_text(encoding="utf-8").count("frames read")
    time.sleep(2)
    assert server.log.read_text(encoding="utf-8").count("frames read") == before


def test_no_function_is_offered_to_programs(server: Server) -> None:
    status, body = fetch(f"{server.url}/gradio_api/info")
    if status == 200:
        described = json.loads(body)
        assert described["named_endpoints"] == {}
        assert described["unnamed_endpoints"] == {}


def test_the_page_reports_to_nobody(server: Server) -> None:
    config = json.loads(fetch(f"{server.url}/config")[1])
    assert not config["analytics_enabled"]
    assert not config.get("run_history", False)
    assert not config.get("is_space", False)
