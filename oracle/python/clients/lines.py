"""Requests over plain sockets: a load of many streams should cost the server's processor, not the client's."""

import asyncio
import json


class Refused(Exception):
    """The server answered something else than 200."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:300]}")
        self.status, self.body = status, body


async def _send(port, method, path, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n" \
           f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, reader, writer


async def _chunks(reader, headers):
    """The body's pieces, whether its length is told or not."""
    if "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
        return
    if headers.get("transfer-encoding") != "chunked":
        while piece := await reader.read(1 << 16):
            yield piece
        return
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


async def ask(port, method, path, body=None):
    """Status and JSON."""
    status, headers, reader, writer = await _send(port, method, path, body)
    try:
        text = b"".join([chunk async for chunk in _chunks(reader, headers)])
        return status, json.loads(text) if text else None
    finally:
        writer.close()


async def stream(port, path, body, leave_after=None, heard=None):
    """The events of a stream; leaves after so many of them where told to. `heard` is called at each."""
    status, headers, reader, writer = await _send(port, "POST", path, {**body, "stream": True})
    try:
        if status != 200:
            raise Refused(status, (b"".join([chunk async for chunk in _chunks(reader, headers)])).decode(errors="replace"))
        rest, events = b"", []
        async for chunk in _chunks(reader, headers):
            *whole, rest = (rest + chunk).split(b"\n\n")
            for message in whole:
                data = [line[6:] for line in message.split(b"\n") if line.startswith(b"data: ")]
                if data and data[0] != b"[DONE]":
                    events.append(json.loads(data[0]))
                    if heard is not None:
                        heard(events[-1])
            if leave_after is not None and len(events) >= leave_after:
                return None
        return events
    finally:
        writer.close()
