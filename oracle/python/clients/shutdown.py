"""The end of our server."""

import signal
import threading

import suite
import wire
from suite import check


@check
def terminating_lets_requests_finish(servers):
    """Runs last: afterwards the server is gone."""
    found = {}

    def ask():
        found["reply"] = wire.events(servers.ours, "/v1/completions", {"prompt": "Hello", "max_tokens": 64})

    expected = wire.post(servers.ours, "/v1/completions", {"prompt": "Hello", "max_tokens": 64})[1]
    thread = threading.Thread(target=ask)
    thread.start()
    while not wire.request(servers.ours, "GET", "/health")[1]["active"] and thread.is_alive():
        pass
    servers.ours.process.send_signal(signal.SIGTERM)
    thread.join()
    suite.equal(servers.ours.process.wait(30), 0, "exit code")
    status, chunks, done = found["reply"]
    suite.equal((status, done), (200, True), "status and end")
    suite.equal("".join(c["choices"][0]["text"] for c in chunks if c["choices"]), expected["choices"][0]["text"], "text")
