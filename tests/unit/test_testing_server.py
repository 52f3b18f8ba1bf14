import http.client
import os
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from p2uformat import InvalidArgument, NotFound, StoreUnavailable
from p2uformat.testing import FaultServer, Throttle
from tests.plain_client import DATA, NAME, ask, raw, serve, until

# What a sound server does.


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("100-", 100, len(DATA)),
        ("-7", len(DATA) - 7, len(DATA)),
        ("10000-99999", 10000, len(DATA)),
        ("-99999", 0, len(DATA)),
    ],
)
def test_a_range(asked, start, stop):
    with serve() as server:
        answer, body = ask(server, asked)
        assert (answer.status, body) == (206, DATA[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
        assert int(answer.headers["Content-Length"]) == stop - start
        assert server.requests[0].range == (start, stop)
        assert server.bytes_sent == stop - start


@pytest.mark.parametrize("asked", ["", "5-4", "x", "1-2,4-5", "-"])
def test_what_is_no_single_range_gives_everything(asked):
    with serve() as server:
        answer, body = ask(server, asked)
        assert (answer.status, body) == (200, DATA)
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert server.requests[0].range is None


@pytest.mark.parametrize(
    ("name", "asked"), [(NAME, f"{len(DATA)}-"), (NAME, "-0"), ("empty", "0-0")]
)
def test_a_range_outside(name, asked):
    with serve() as server:
        answer, _ = ask(server, asked, name=name)
        size = len(DATA) if name == NAME else 0
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_head_and_what_is_not_there():
    with serve() as server:
        answer, body = ask(server, "1-2", method="HEAD")
        assert (answer.status, body) == (200, b"")
        assert int(answer.headers["Content-Length"]) == len(DATA)
        assert ask(server, name="other")[0].status == 404
        assert ask(server, method="DELETE")[0].status == 405
        assert [r.sent for r in server.requests] == [0, 14, 23]


def test_conditions():
    with serve() as server:
        head = ask(server, method="HEAD")[0].headers
        tag, date = head["ETag"], head["Last-Modified"]
        assert ask(server, "0-1", If_Match=f'"x", {tag}')[0].status == 206
        assert ask(server, "0-1", If_Match=f"W/{tag}")[0].status == 412
        assert ask(server, If_None_Match=f"W/{tag}")[0].status == 304
        assert ask(server, If_None_Match='"x"')[0].status == 200
        assert ask(server, If_Modified_Since=date)[0].status == 304
        assert ask(server, If_Unmodified_Since="Thu, 01 Jan 1970 00:00:00 GMT")[0].status == 412
        assert ask(server, "0-1", If_Range=tag)[0].status == 206
        assert ask(server, "0-1", If_Range=date)[0].status == 206
        assert ask(server, "0-1", If_Range='"x"')[0].status == 200


def test_an_object_that_changes():
    with serve() as server:
        before = ask(server)[0].headers
        server.replace(NAME, b"new")
        assert ask(server, If_Match=before["ETag"])[0].status == 412
        answer, body = ask(server, "0-1", If_Range=before["ETag"])
        assert (answer.status, body) == (200, b"new")
        assert answer.headers["Last-Modified"] != before["Last-Modified"]


def test_requests_share_a_connection():
    with serve() as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for _ in range(3):
            client.request("GET", "/empty")
            assert client.getresponse().read() == b""
        client.close()
        ask(server, Connection="close")
        assert [record.connection for record in server.requests] == [1, 1, 1, 2]


def test_old_and_wrong_clients():
    with serve() as server:
        assert raw(server, b"GET /empty HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
        assert raw(server, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert raw(server, b"GET / HTTP/1.1\r\n: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert raw(server, b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n").startswith(
            b"HTTP/1.1 400 "
        )
        assert raw(server, b"x" * (1 << 16) + b"x").startswith(b"HTTP/1.1 400 ")
        both = b"PUT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /empty HTTP/1.0\r\n\r\n"
        assert raw(server, both).count(b"HTTP/1.1 ") == 2


def test_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(b"secret")
    with FaultServer(tmp_path / "in", script="ok*4 flip@3 close@5") as server:
        assert ask(server, "-5", name="big")[1] == DATA[-5:]
        for name in ("../secret", "", "big/x"):
            assert ask(server, name=name)[0].status == 404
        assert ask(server, "0-9", name="big")[1] == DATA[:3] + b"\x02" + DATA[4:10]
        with pytest.raises(http.client.IncompleteRead):
            ask(server, name="big")
        tag = ask(server, name="big")[0].headers["ETag"]
        server.replace("big", b"new")
        answer, body = ask(server, name="big")
        assert body == b"new"
        assert answer.headers["ETag"] != tag
        with pytest.raises(InvalidArgument):
            server.replace("../secret", b"")
        with pytest.raises((NotFound, StoreUnavailable)):
            server.replace("no/such/folder", b"")
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["big"]


def test_misuse():
    with pytest.raises(InvalidArgument, match="no such folder"):
        FaultServer("/no/such/folder")
    with pytest.raises(InvalidArgument, match="position 0"):
        serve("nonsense")
    with pytest.raises(InvalidArgument, match="rate"):
        serve(rate=0)
    server = serve()
    with pytest.raises(InvalidArgument, match="not running"):
        server.url  # noqa: B018
    with server, pytest.raises(InvalidArgument, match="already running"), server:
        pass


# Many at once, rates, and the end.


def test_connections_at_once():
    data = os.urandom(1 << 20)
    with FaultServer({"x": data}, script="random(0.3,503,seed=1)...") as server:
        got, refused = {}, []

        def read(start):
            while True:
                answer, body = ask(server, f"{start}-{start + 65535}", name="x")
                if answer.status == 206:
                    got[start] = body
                    return
                refused.append(start)

        threads = [threading.Thread(target=read, args=(i << 16,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert b"".join(got[key] for key in sorted(got)) == data
        assert len(server.requests) == 16 + len(refused)
        assert server.bytes_sent >= len(data)


def test_a_rate_is_shared():
    with FaultServer({"x": bytes(100_000)}, rate=500_000) as server:
        start = time.monotonic()
        threads = [
            threading.Thread(target=ask, args=(server,), kwargs={"name": "x"}) for _ in "abc"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.5 < time.monotonic() - start < 6  # 0.6 s by the rate


def test_first_bytes_come_soon_at_a_low_rate():
    with FaultServer({"x": bytes(10**7)}, rate=50_000) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as link:
            start = time.monotonic()
            link.sendall(b"GET /x HTTP/1.1\r\n\r\n")
            got = b""
            while len(got) < 1000:
                got += link.recv(1 << 16)
            assert time.monotonic() - start < 2
        assert server.bytes_sent < 10**6


def test_a_throttle_keeps_its_rate():
    throttle, stopping = Throttle(10**6), threading.Event()
    start = time.monotonic()
    for _ in range(40):
        throttle.take(throttle.piece, stopping)
    assert 0.15 < time.monotonic() - start < 2  # 0.2 s by the rate
    stopping.set()
    throttle.take(10**9, stopping)
    assert time.monotonic() - start < 10


def test_a_large_file_is_not_held_in_memory(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(3 << 30)
    with FaultServer(tmp_path) as server:
        tracemalloc.start()
        try:
            answer, body = ask(server, "-1000000", name="big")
            assert answer.headers["Content-Range"].endswith(f"/{3 << 30}")
            assert body == bytes(1_000_000)
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("script", ["stall", "stall@10", "delay(60)", "slow(1)", "endless", "ok"])
def test_nothing_is_left_while_clients_wait(script):
    before = set(threading.enumerate())
    descriptors = len(list(Path("/dev/fd").iterdir()))
    with FaultServer({"x": bytes(64 << 20)}, script=f"{script}...") as server:
        links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for link in links[:4]:  # the fifth says nothing, and nobody reads
            link.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        until(lambda: len(server.requests) == 4)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    assert set(threading.enumerate()) == before
    assert all(record.done for record in server.requests)
    for link in links:
        link.close()
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


def test_a_server_ends_with_an_error_in_its_block():
    before = set(threading.enumerate())
    with (
        pytest.raises(RuntimeError),
        serve("stall...") as server,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        raise RuntimeError
    assert set(threading.enumerate()) == before
