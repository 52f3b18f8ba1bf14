"""Models in PyTorch: modules that are filled from an artifact, and improve while they run.

Nothing else of the library imports PyTorch; ``pip install 'p2uformat[torch]'`` brings it.

Examples
--------
>>> import tempfile, torch, p2uformat.torch
>>> path = tempfile.mkdtemp() + "/m.p2u"
>>> model = torch.nn.Linear(256, 64)
>>> summary = p2uformat.torch.save_file(model.state_dict(), path)
>>> p2uformat.torch.load_into(torch.nn.Linear(256, 64), path, tier="q8")
<All keys matched successfully>
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401 - to say what to install before anything else fails
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "p2uformat.torch needs PyTorch\npip install 'p2uformat[torch]'", name="torch"
    ) from error

from p2uformat.torch.errors import ModuleMismatch, StreamCancelled
from p2uformat.torch.files import load_file, save_file
from p2uformat.torch.load import load_into
from p2uformat.torch.omc import Compressed, EachParameter, compressed
from p2uformat.torch.safe_open import SafeSlice, safe_open
from p2uformat.torch.stream import Stream, StreamProgress, stream

__all__ = [
    "Compressed",
    "EachParameter",
    "ModuleMismatch",
    "SafeSlice",
    "Stream",
    "StreamCancelled",
    "StreamProgress",
    "compressed",
    "load_file",
    "load_into",
    "safe_open",
    "save_file",
    "stream",
]
