"""A server and a proxy whose faults are a string, to test what reads ranges of bytes.

`docs/testing.md` has the table of faults.

Examples
--------
>>> from urllib.request import Request, urlopen
>>> with FaultServer({"a.bin": b"abcdef"}, script="flip@0") as server:
...     ask = Request(server.url_of("a.bin"), headers={"Range": "bytes=2-3"})
...     with urlopen(ask) as answer:
...         answer.read()
b'bd'
"""

from p2uformat.testing.exchange import Record
from p2uformat.testing.fault import Fault
from p2uformat.testing.proxy import PROXY_FAULTS, Connection, FaultProxy
from p2uformat.testing.script import FAULTS, Rule, Script, Step, parse_script
from p2uformat.testing.server import FaultServer
from p2uformat.testing.throttle import Throttle

__all__ = [
    "FAULTS",
    "PROXY_FAULTS",
    "Connection",
    "Fault",
    "FaultProxy",
    "FaultServer",
    "Record",
    "Rule",
    "Script",
    "Step",
    "Throttle",
    "parse_script",
]
