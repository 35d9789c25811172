"""Stands in for DynamoDB and a user pool's keys: answers every call after DELAY_MS, and keeps nothing."""

import asyncio
import json
import os
import signal
import sys

DELAY = float(os.environ.get("DELAY_MS", "5")) / 1000
KEYS = os.environ.get("JWKS", '{"keys":[]}').encode()


def answer(target: bytes, body: bytes) -> bytes:
    """The body that DynamoDB would send, as if every item were there."""
    if not target.endswith((b".GetItem", b".UpdateItem")):
        return b"{}"
    item = json.loads(body)["Key"] | {"title": {"S": "my title"}, "content": {"S": "my content"}, "version": {"N": "1"}}
    return json.dumps({"Item" if target.endswith(b".GetItem") else "Attributes": item}).encode()


def header(head: bytes, name: bytes) -> bytes:
    """A header's value; names are compared without regard to case."""
    begin = head.lower().find(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    begin += len(name) + 3
    return head[begin : head.index(b"\r\n", begin)].strip()


class Connection(asyncio.Protocol):
    """One client's connection: requests follow each other, none is pipelined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        end = self.data.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head = self.data[: end - 2]
        if len(self.data) < end + int(header(head, b"content-length") or 0):
            return
        body, self.data = self.data[end:], b""
        if head.startswith(b"GET"):
            self.send(b"application/json", KEYS)
        else:
            content = answer(header(head, b"x-amz-target"), body)
            asyncio.get_running_loop().call_later(DELAY, self.send, b"application/x-amz-json-1.0", content)

    def send(self, kind: bytes, content: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nServer: stub\r\nx-amzn-RequestId: stub\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (kind, len(content), content)
        )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "0.0.0.0", 80, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(main())
