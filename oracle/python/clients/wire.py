"""Requests as curl sends them, and event streams taken apart."""

import http.client
import json
import urllib.parse


def request(server, method, path, body=None, headers=None, raw=False):
    """Status and JSON (or bytes, if `raw`) of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    if raw:
        return reply.status, content
    return reply.status, json.loads(content) if content else None


def post(server, path, body):
    return request(server, "POST", path, body)


def events(server, path, body):
    """Status, JSON of every event, and whether the stream ended with `[DONE]`."""
    status, content = request(server, "POST", path, {**body, "stream": True}, raw=True)
    data = [line[6:] for line in content.decode().split("\n") if line.startswith("data: ")]
    done = bool(data) and data[-1] == "[DONE]"
    return status, [json.loads(d) for d in (data[:-1] if done else data)], done


def error_text(body):
    """The message of an error, a string at mlx-lm, an object at OpenAI."""
    error = body["error"]
    return error["message"] if isinstance(error, dict) else error


def quote(text):
    return urllib.parse.quote(text, safe="")
