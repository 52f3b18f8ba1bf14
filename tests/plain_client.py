"""A plain client of the fault server: http.client and bare sockets, which retry nothing."""

import http.client
import socket
import time

from p2uformat.testing import FaultServer

DATA = bytes(range(256)) * 40
NAME = "a b/m.p2u"


def ask(server, asked="", *, method="GET", name=NAME, client=None, **headers):
    """Return the answer and its body, over a connection of its own."""
    client = client or http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    if asked:
        headers["Range"] = f"bytes={asked}"
    try:
        client.request(method, server.url_of(name).removeprefix(server.url), headers=headers)
        answer = client.getresponse()
        return answer, answer.read()
    finally:
        client.close()


def serve(script="", **options):
    return FaultServer({NAME: DATA, "empty": b""}, script=script, **options)


def raw(server, text):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as link:
        link.sendall(text)
        return b"".join(iter(lambda: link.recv(1 << 16), b""))


def receive(link):
    """Return all that comes, and the error it ended with."""
    got = b""
    try:
        while data := link.recv(1 << 16):
            got += data
    except OSError as error:
        return got, type(error)
    return got, None


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
