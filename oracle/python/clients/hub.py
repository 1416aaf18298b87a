"""A local imitation of a model hub: it has one model, under every name."""

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Larger files are named by SHA-256, as those in a hub's large-file store are.
_LARGE = 4096


class _Answers(http.server.BaseHTTPRequestHandler):
    model = None

    def do_GET(self):  # noqa: N802 - the library's name
        if self.path.startswith("/api/"):
            names = [{"rfilename": file.name} for file in self.model.iterdir()]
            return self._answer(200, json.dumps({"siblings": names, "sha": _COMMIT}).encode(), {})
        content = (self.model / Path(self.path).name).read_bytes()
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(start), min(int(end or len(content) - 1), len(content) - 1)
        large = len(content) > _LARGE
        etag = hashlib.sha256(content) if large else hashlib.sha1(f"blob {len(content)}\0".encode() + content)
        return self._answer(206, content[start:end + 1], {"ETag": f'"{etag.hexdigest()}"', "X-Repo-Commit": _COMMIT,
                                                          "Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def _answer(self, status, body, headers):
        # A client may be killed while it fetches.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(model):
    """The address of a hub with the files of the folder `model`."""
    answers = type("Answers", (_Answers,), {"model": model})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
