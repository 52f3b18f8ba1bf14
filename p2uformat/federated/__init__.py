"""Federated rounds through a store: each client takes what its budget allows, and sends updates."""

from p2uformat.federated.elastic import ElasticLevels
from p2uformat.federated.widths import (
    Layer,
    average_widths,
    layers_of,
    plan_widths,
    prune_and_grow,
    used_bits,
)

__all__ = [
    "ElasticLevels",
    "Layer",
    "average_widths",
    "layers_of",
    "plan_widths",
    "prune_and_grow",
    "used_bits",
]
