"""A server for judges to ask, which replies as it is told."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text: object, **more: object) -> bytes:
    """The body of a chat completion."""
    return json.dumps({"model": "judge-0613", "choices": [{"message": {"content": text}} | more]}).encode()


@dataclass
class Server:
    """A judge's server that replies as told: bytes, an HTTP status, or a name of trouble; the last one for ever."""

    replies: list[bytes | int | str] = field(default_factory=list)
    requests: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        self.keys.append(handler.headers["Authorization"])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply == "silent":
            self.closing.wait(20)
        elif reply == "hang up":
            handler.close_connection = True
        elif reply == "drip":
            handler.send_response(200)
            handler.end_headers()
            for _ in range(500):
                if not self.closing.wait(0.02):
                    handler.wfile.write(b" ")
        elif isinstance(reply, int):
            handler.send_response(reply)
            handler.send_header("Location", self.url)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(reply)))
            handler.end_headers()
            handler.wfile.write(reply)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server at work."""
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the name http.server looks for
            with contextlib.suppress(OSError):  # the judge did not wait
                told.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        told.url = f"http://127.0.0.1:{listening.server_port}/v1/chat/completions"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            told.closing.set()
            listening.shutdown()
            thread.join()
