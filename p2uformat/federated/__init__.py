"""Federated rounds through a store: each client takes what its budget allows, and sends updates."""

from p2uformat.federated.checks import Rejected, Rules
from p2uformat.federated.client import Client, Received, Sent
from p2uformat.federated.elastic import ElasticLevels
from p2uformat.federated.reading import Accepted, Reader, Verified
from p2uformat.federated.rounds import LADDER, Names, Round
from p2uformat.federated.server import Gathered, Server
from p2uformat.federated.widths import (
    Layer,
    average_widths,
    layers_of,
    plan_widths,
    prune_and_grow,
    used_bits,
)

__all__ = [
    "LADDER",
    "Accepted",
    "Client",
    "ElasticLevels",
    "Gathered",
    "Layer",
    "Names",
    "Reader",
    "Received",
    "Rejected",
    "Round",
    "Rules",
    "Sent",
    "Server",
    "Verified",
    "average_widths",
    "layers_of",
    "plan_widths",
    "prune_and_grow",
    "used_bits",
]
