"""A proxy in front of a store's HTTP server that counts requests by their method and key."""

import http.client
import threading
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["CountingProxy"]

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}


class CountingProxy:
    """Passes requests on to a server of this machine, and keeps what they were.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:port`` of the server.
    lose : callable, optional
        Called with method and path of each request that was carried out: where it returns true,
        the connection ends without an answer.

    Attributes
    ----------
    seen : list of (str, str, int, int)
        Method, path with query, bytes sent and bytes received by whoever asked.
    """

    def __init__(self, url, lose=None):
        self.seen = []
        self.lose = lose
        self._target = urllib.parse.urlsplit(url).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_arguments):
                pass

            def answer(self):
                proxy._pass_on(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - as they have to be

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def counts(self):
        """Return how many requests there were of each method."""
        return Counter(method for method, *_ in self.seen)

    def _pass_on(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        connection = http.client.HTTPConnection(self._target, timeout=60)
        try:
            headers = {k: v for k, v in handler.headers.items() if k.lower() not in _HOP}
            connection.putrequest(
                handler.command, handler.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            if body or handler.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
            self.seen.append((handler.command, handler.path, len(body), len(data)))
            if self.lose is not None and self.lose(handler.command, handler.path):
                handler.close_connection = True
                handler.connection.close()
                return
            self._answer(handler, response, data)
        finally:
            connection.close()

    @staticmethod
    def _answer(handler, response, data):
        handler.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP:
                handler.send_header(name, value)
        length = response.getheader("Content-Length") if handler.command == "HEAD" else len(data)
        handler.send_header("Content-Length", str(length or 0))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)
