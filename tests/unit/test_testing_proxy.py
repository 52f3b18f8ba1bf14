import socket
import threading
import time

import pytest

from p2uformat import InvalidArgument
from p2uformat.testing import FaultProxy, FaultServer
from p2uformat.testing.sockets import Listener

DATA = bytes(range(256)) * 4096


@pytest.fixture
def target():
    """Return the port of a server that sends DATA after a line, then echoes."""

    def handle(link):
        if link.recv(1 << 16) == b"go\n":
            link.sendall(DATA)
        while data := link.recv(1 << 16):
            link.sendall(data)

    listener = Listener(handle)
    listener.start()
    yield listener.port
    listener.stop()


def receive(link, *, after=b""):
    """Return all that comes, and the error it ended with; say `after` when DATA is there."""
    got = b""
    try:
        while data := link.recv(1 << 16):
            got += data
            if len(got) == len(DATA):
                link.sendall(after)
                link.shutdown(socket.SHUT_WR)
    except OSError as error:
        return got, type(error)
    return got, None


def read(proxy, *, after=b""):
    try:  # an early reset may be seen while connecting, or while writing
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link:
            link.sendall(b"go\n")
            return receive(link, after=after)
    except OSError as error:
        return b"", type(error)


def test_all_is_passed_both_ways(target):
    with FaultProxy("127.0.0.1", target) as proxy:
        assert read(proxy, after=b"echo") == (DATA + b"echo", None)
        assert (proxy.bytes_down, proxy.bytes_up) == (len(DATA) + 4, 3 + 4)
        assert proxy.connections[0].fault == "ok"


@pytest.mark.parametrize("count", [0, 1, 300_000])
def test_reset_and_close(target, count):
    with FaultProxy("127.0.0.1", target, script=f"reset@{count} close@{count}") as proxy:
        got, error = read(proxy)
        assert (got, error) == (DATA[:count], ConnectionResetError)
        got, error = read(proxy)
        # A client that still writes may find the connection gone before its end is read.
        assert got == DATA[:count]
        assert error in (None, ConnectionResetError)
        assert read(proxy) == (DATA, None)
        assert [c.bytes_down for c in proxy.connections] == [count, count, len(DATA)]
        assert [c.fault for c in proxy.connections] == [f"reset@{count}", f"close@{count}", "ok"]


def test_a_clean_end(target):
    with FaultProxy("127.0.0.1", target, script="close@1000") as proxy:
        assert read(proxy) == (DATA[:1000], None)


@pytest.mark.parametrize("word", ["reset", "close", "stall"])
def test_no_answer(target, word):
    with FaultProxy("127.0.0.1", target, script=word, stall_seconds=0.1) as proxy:
        assert read(proxy)[0] == b""
        assert proxy.bytes_up == 0


def test_stall(target):
    with FaultProxy("127.0.0.1", target, script="stall@1000") as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as link:
            link.sendall(b"go\n")
            assert receive(link) == (DATA[:1000], TimeoutError)
            assert not proxy.connections[0].done
        end = time.monotonic() + 10
        while not proxy.connections[0].done:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_stall_that_is_over(target):
    with FaultProxy("127.0.0.1", target, script="stall@10", stall_seconds=0.1) as proxy:
        assert read(proxy)[0] == DATA[:10]


def test_rates_and_delay(target):
    with FaultProxy("127.0.0.1", target, script="slow(4M) delay(0.2)", rate=2 << 20) as proxy:
        for expected in (0.5, 0.7):  # DATA is 1 MiB
            start = time.monotonic()
            assert read(proxy)[0] == DATA
            assert expected * 0.9 < time.monotonic() - start < 8


def test_http_through_a_proxy():
    with FaultServer({"x": DATA}) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        assert proxy.url == f"http://127.0.0.1:{proxy.port}"
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link:
            link.sendall(b"GET /x HTTP/1.0\r\n\r\n")
            got = b"".join(iter(lambda: link.recv(1 << 16), b""))
        assert got.endswith(DATA)


def test_a_reset_of_the_server_arrives_as_one():
    with (
        FaultServer({"x": DATA}, script="reset@5") as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as link,
    ):
        link.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert receive(link)[1] is ConnectionResetError


def test_no_target():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy:
        assert read(proxy) == (b"", ConnectionResetError)


@pytest.mark.parametrize("script", ["503", "flip@2", "GET x: reset", "HEAD: ok"])
def test_what_a_proxy_cannot_do_is_refused(script):
    with pytest.raises(InvalidArgument):
        FaultProxy("127.0.0.1", 1, script=script)


def test_many_at_once(target):
    with FaultProxy("127.0.0.1", target, script="reset@100 ok...") as proxy:
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(read(proxy)[0])) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(len, results)) == [100] * 6 + [len(DATA)] * 6


@pytest.mark.parametrize("script", ["stall", "stall@10", "delay(60)", "slow(1)", "ok"])
def test_nothing_is_left_while_clients_wait(target, script):
    before = set(threading.enumerate())
    with FaultProxy("127.0.0.1", target, script=f"{script}...") as proxy:
        links = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(4)]
        for link in links[:3]:  # the fourth says nothing, and nobody reads
            link.sendall(b"go\n")
        end = time.monotonic() + 10
        while len(proxy.connections) < 4:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.1)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    for link in links:
        link.close()
    # The target's own threads end by themselves when the proxy has left.
    end = time.monotonic() + 10
    while any(thread not in before for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)
