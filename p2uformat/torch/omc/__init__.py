"""Modules whose parameters live compressed: expanded for an operation, and freed after it.

OMC: Yang et al., Online Model Compression for Federated Learning with Large Models, 2022
(arXiv 2205.03494).
"""

from p2uformat.torch.omc.compressed import Compressed, compressed
from p2uformat.torch.omc.optimizer import EachParameter

__all__ = ["Compressed", "EachParameter", "compressed"]
