"""Bytes from elsewhere: addresses, ranges, transfers that survive what lines and servers do.

What needs an event loop is imported from its module, where it is used: who reads a file of this
machine should not wait for it.
"""

from p2uformat.transport.address import Address, StorageOptions
from p2uformat.transport.policy import Policy

__all__ = ["Address", "Policy", "StorageOptions"]
