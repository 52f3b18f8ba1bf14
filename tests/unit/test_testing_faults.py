import gzip
import http.client
import socket
import time
from email.utils import parsedate_to_datetime

import pytest

from p2uformat.testing import bodies as bodies_module
from tests.plain_client import DATA, ask, receive, serve, until

# Each fault, as a plain client sees it.


@pytest.mark.parametrize("count", [0, 1, 100])
def test_reset(count):
    with serve(f"reset@{count}") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as link:
            link.sendall(b"GET /a%20b/m.p2u HTTP/1.1\r\nRange: bytes=50-\r\n\r\n")
            got, error = receive(link)
        assert error is ConnectionResetError
        assert got.partition(b"\r\n\r\n")[2] == DATA[50 : 50 + count]
        assert server.requests[0].sent == count
        assert server.requests[0].fault == f"reset@{count}"


def test_close():
    with serve("close@100") as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(server)
        assert caught.value.partial == DATA[:100]
        assert ask(server)[1] == DATA


@pytest.mark.parametrize("word", ["reset", "close"])
def test_no_answer_at_all(word):
    with serve(word) as server:
        with pytest.raises(ConnectionError):  # RemoteDisconnected is one as well
            ask(server)
        assert (server.requests[0].status, server.requests[0].sent) == (0, 0)


@pytest.mark.parametrize("word", ["stall", "stall@10"])
def test_stall(word):
    with serve(word) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as link:
            link.sendall(b"GET /a%20b/m.p2u HTTP/1.1\r\n\r\n")
            got, error = receive(link)
        assert error is TimeoutError
        assert got.partition(b"\r\n\r\n")[2] == (DATA[:10] if "@" in word else b"")
        until(lambda: server.requests[0].done)


def test_a_stall_that_is_over():
    with serve("stall@10", stall_seconds=0.1) as server, pytest.raises(http.client.IncompleteRead):
        ask(server)


@pytest.mark.parametrize("word", ["200", "whole"])
def test_whole(word):
    with serve(word) as server:
        answer, body = ask(server, "5-9")
        assert (answer.status, body) == (200, DATA)
        assert "Content-Range" not in answer.headers


@pytest.mark.parametrize(
    ("word", "said", "expected"),
    [
        ("range+5", f"bytes 15-24/{len(DATA)}", DATA[15:25]),
        ("range-5", f"bytes 5-14/{len(DATA)}", DATA[5:15]),
        ("range-50", f"bytes 0-9/{len(DATA)}", DATA[:10]),
        ("range+99999", f"bytes 100009-100018/{len(DATA)}", bytes(10)),
        ("range/77", "bytes 10-19/77", DATA[10:20]),
        ("norange", None, DATA[10:20]),
        ("shift+5", f"bytes 10-19/{len(DATA)}", DATA[15:25]),
        ("shift-15", f"bytes 10-19/{len(DATA)}", bytes(5) + DATA[:5]),
        ("flip@2", f"bytes 10-19/{len(DATA)}", b"\x0a\x0b\x0d" + DATA[13:20]),
        ("flip@99", f"bytes 10-19/{len(DATA)}", DATA[10:19] + b"\x12"),
        ("long+3", f"bytes 10-19/{len(DATA)}", DATA[10:23]),
    ],
)
def test_other_ranges_and_bytes(word, said, expected):
    with serve(word) as server:
        answer, body = ask(server, "10-19")
        assert (answer.status, body) == (206, expected)
        assert answer.headers["Content-Range"] == said
        assert int(answer.headers["Content-Length"]) == len(expected)


@pytest.mark.parametrize("word", ["range+0", "range/5", "norange"])
def test_a_fault_of_ranges_is_seen_without_a_range(word):
    with serve(word) as server:
        assert ask(server)[0].status == 206


def test_endless(monkeypatch):
    monkeypatch.setattr(bodies_module, "MOST_ENDLESS", 3 << 20)
    with serve("endless endless&reset@100000") as server:
        with pytest.raises(http.client.IncompleteRead):
            ask(server, "-5")
        assert server.bytes_sent == 3 << 20
        with pytest.raises(ConnectionResetError):
            ask(server, "-5")
        assert server.requests[1].sent == 100_000


def test_endless_ends_when_the_client_leaves():
    with serve("endless") as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        client.request("GET", "/a%20b/m.p2u")
        answer = client.getresponse()
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in answer.headers
        assert answer.read(len(DATA) + 2) == DATA + b"\0\0"
        answer.close()
        client.close()
        until(lambda: server.requests[0].done)
        assert server.bytes_sent < 1 << 30


def test_gzip():
    with serve("gzip") as server:
        answer, body = ask(server, "0-999")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(body) == DATA[:1000]


@pytest.mark.parametrize(
    "code", [400, 401, 403, 404, 405, 408, 410, 412, 416, 429, 500, 502, 503, 504]
)
def test_status(code):
    with serve(f"{code}") as server:
        answer, body = ask(server, "0-9")
        assert answer.status == code
        assert body.startswith(str(code).encode())
        assert ("WWW-Authenticate" in answer.headers) == (code == 401)
        assert (answer.headers.get("Content-Range") == f"bytes */{len(DATA)}") == (code == 416)
        assert ask(server, "0-9")[0].status == 206


def test_retry_after():
    with serve("429(2) 503(0.5) 503(date+100) 503") as server:
        found = [ask(server)[0].headers.get("Retry-After") for _ in range(4)]
        assert found[:2] == ["2", "0.5"]
        assert abs(parsedate_to_datetime(found[2]).timestamp() - time.time() - 100) < 10
        assert found[3] is None


def test_redirect():
    with serve("redirect ok redirect...") as server:
        answer, _ = ask(server)
        assert answer.status == 302
        moved = answer.headers["Location"]
        assert moved != "/a%20b/m.p2u"
        for expected in (200, 302):
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            client.request("GET", moved)
            answer = client.getresponse()
            assert answer.status == expected
            assert answer.read() == DATA or answer.headers["Location"] == moved
            client.close()


def test_other_etag():
    with serve("etag") as server:
        first, second = (ask(server) for _ in range(2))
        assert first[1] == second[1]
        assert first[0].headers["ETag"] != second[0].headers["ETag"]
        assert first[0].headers["ETag"].startswith('"other-')


def test_delay_and_slow():
    with serve("delay(0.2) slow(20K)") as server:
        for expected in (0.2, 0.4):
            start = time.monotonic()
            ask(server)
            assert expected * 0.9 < time.monotonic() - start < 5


def test_faults_of_one_step_add_up():
    with serve("flip@2&503(1)&close@3") as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        client.request("GET", "/empty")
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        with pytest.raises(http.client.IncompleteRead) as caught:
            answer.read()
        assert caught.value.partial == b"502"
        client.close()
        assert server.requests[0].fault == "503(1)&flip@2&close@3"


def test_faults_of_head_requests():
    with serve("HEAD: 405 etag reset@0") as server:
        assert ask(server)[0].status == 200
        assert ask(server, method="HEAD")[0].status == 405
        assert ask(server, method="HEAD")[0].headers["ETag"].startswith('"other-')


def test_a_script_can_be_set_meanwhile():
    with serve("503...") as server:
        assert ask(server)[0].status == 503
        server.script = "404"
        assert server.script == "404"
        assert [ask(server)[0].status for _ in range(2)] == [404, 200]
