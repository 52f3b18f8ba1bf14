"""Write section 17 of SPEC.md: one tiny artifact, carried through all sections in real bytes.

``python spec/generate/worked_example.py`` prints the section's text, ``--write`` puts it into
SPEC.md between the headings of sections 17 and 18. The prose is in ``worked_example.md``.
"""

import argparse
import struct
import sys
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any

import ladder
from builder import Build, Recipe
from source import Ladder, Tensor, safetensors
from wire import digest

HERE = Path(__file__).resolve().parent
SPEC = HERE.parents[1] / "SPEC.md"
WORDS = [0x3F80, 0xBF00, 0x3E12, 0x8000, 0x3D4D, 0x4F12, 0xBD99, 0x0003]
STEP = -6
TIERS = [("q4", 0), ("q8", 4), ("exact", None)]


def recipe() -> Recipe:
    """Return eight BF16 weights with one outlier, and an opaque tensor."""
    weights = Tensor("w", "BF16", [2, 4], struct.pack("<8H", *WORDS), Ladder([[STEP]], segment=8))
    step = Tensor("step", "I32", [], struct.pack("<i", 1000))
    return Recipe([weights, step], [safetensors("m.safetensors", [weights, step])], TIERS)


def dump(data: bytes, width: int = 32) -> str:
    """Return bytes in hex, so many a line, indented as a code block."""
    return "\n".join("    " + data[i : i + width].hex(" ", -4) for i in range(0, len(data), width))


def labelled(data: bytes, fields: list[tuple[str, int]]) -> str:
    """Return fields of a payload, each in hex with its name."""
    lines, at = [], 0
    for name, size in fields:
        lines.append(f"    {data[at : at + size].hex(' ', 1):<24} {name}")
        at += size
    if at != len(data):
        raise ValueError("the fields are not the whole payload")
    return "\n".join(lines)


def short(name: bytes) -> str:
    """Return the beginning of a digest."""
    return f"`{name.hex()[:16]}…`"


def decimal(value: Fraction) -> str:
    """Return six digits of a value."""
    return f"{float(value):.6g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def weights(build: Build) -> str:
    """Return the table of weights: symbols, digits and what is left."""
    block = build.quantized["w"].blocks[0]
    rows = []
    for i, word in enumerate(block.words):
        negative, magnitude = block.dtype.split(word)
        value = ("-" if negative else "") + decimal(block.dtype.value(magnitude))
        m = ladder.bin_number(block.dtype, word, STEP)
        cells = [str(i), f"`{word:04x}`", value, str(m), f"`{block.symbols[i]:02x}`"]
        if i not in block.inner:
            rows.append([*cells[:4], cells[4] + " outlier", "", "0", "", "", "", ""])
            continue
        n, e = block.n(i, 1), magnitude >> block.dtype.mantissa
        r = ladder.remainder_bits(block.dtype, n, STEP - 4)
        x = "" if n else str(ladder.top_exponent(block.dtype, STEP - 4) - e)
        rows.append([*cells, *map(str, (n, n % 16, e, r, magnitude % (1 << r), x))])
    return table(
        ["i", "word", "value", "m = n₀", "symbol", "n₁", "digit", "E", "r", "R", "x"], rows
    )


def lacking(build: Build) -> str:
    """Return how many bits each weight but the outlier still lacks."""
    block = build.quantized["w"].blocks[0]
    widths = [ladder.remainder_bits(block.dtype, block.n(i, 1), STEP - 4) for i in block.inner]
    return ", ".join(map(str, widths))


def reconstructed(build: Build) -> str:
    """Return what each tier gives for each weight."""
    quantized, rows = build.quantized["w"], []
    for tier, (name, _) in enumerate(TIERS):
        lossy = tier < len(quantized.tiers)
        data = quantized.at_tier(tier) if lossy else quantized.tensor.data
        words = " ".join(f"{word:04x}" for word in struct.unpack("<8H", data))
        delta0, delta1, kt, _ = map(str, quantized.tiers[tier] if lossy else [""] * 4)
        rows.append([f"`{name}`", kt, delta0, delta1, f"`{words}`", short(digest(data))])
    return table(["tier", "Kt", "delta0", "delta1", "words", "digest of the tensor"], rows)


def layers(build: Build) -> str:
    """Return all layers with their digests."""
    rows = [
        [f"`{name}`", str(tier), str(len(payload)), short(digest(payload))]
        for (name, tier, _), payload in build.payloads.items()
    ]
    return table(["layer", "tier", "bytes", "layer digest = chunk id"], rows)


HEADER = [
    ("magic", 8, ""), ("major, minor", 4, "<HH"), ("flags", 4, "<I"),
    ("digest of the content root", 32, ""), ("digest of the encoding root", 32, ""),
    ("length of the content root", 4, "<I"), ("length of the encoding root", 4, "<I"),
    ("manifest length", 8, "<Q"), ("file length", 8, "<Q"), ("entries", 8, "<Q"),
    ("first 16 bytes of the digest of bytes 0..112", 16, ""),
]  # fmt: skip


def header(data: bytes) -> str:
    """Return the header's fields."""
    lines, at = [], 0
    for name, size, form in HEADER:
        raw = data[at : at + size]
        value = " = " + ", ".join(map(str, struct.unpack(form, raw))) if form else ""
        lines.append(f"    {at:>3}  {name}{value}")
        lines.append(f"         {raw.hex(' ', 4) if size > 16 else raw.hex(' ', 1)}")
        at += size
    return "\n".join(lines)


def layout(parts: list[tuple[str, int]], offsets: list[int]) -> str:
    """Return where everything is: the manifest's parts from byte 128 on, then the chunks."""
    rows, at = [], 128
    for name, size in parts:
        rows.append((at, f"{name}, {size} bytes"))
        at += size
    rows.append((at, "location table: " + ", ".join(map(str, offsets))))
    rows.append((min(offsets), "chunks"))
    return "\n".join(f"| {offset} | {what} |" for offset, what in rows)


def section() -> str:
    """Return the text of section 17, without its heading."""
    made: dict[str, Any] = {}

    def keep(stage: str) -> Any:  # noqa: ANN401 - a hook
        def hook(value: Any, _: object) -> Any:  # noqa: ANN401
            made[stage] = value
            return value

        return hook

    source = recipe()
    stages = ("content", "encoding", "root_bytes", "other_bytes", "table", "records", "entries")
    source.hooks = {stage: keep(stage) for stage in stages}
    build = Build(source)
    data = build.bytes()
    base, refinement, exact = (build.payloads["w", tier, 0] for tier in range(3))
    fields = [("flags", 1), ("K = -6", 2), ("symbols", 8), ("outlier count", 4)]
    fields += [("outlier index", 4), ("outlier value", 2)]
    parts = {"content_root": made["root_bytes"], "encoding_root": made["other_bytes"]}
    parts |= {"content_page": made["content"], "encoding_page": made["encoding"]}
    chunks = zip(made["table"], made["entries"][0], strict=True)
    values: dict[str, Any] = {
        "top": ladder.top_exponent(build.quantized["w"].dtype, STEP - 4),
        "weights": weights(build),
        "base": labelled(base, fields),
        "refinement": dump(refinement),
        "exact": labelled(exact, [("exponents of weights 3 and 7", 2), ("bits", 3)]),
        "r_list": lacking(build),
        "reconstructed": reconstructed(build),
        "delta1": build.quantized["w"].tiers[0][1],
        "block_digest": short(build.block_digests["w"][0]),
        "layers": layers(build),
        "parameters": made["records"][1][6],
        "encoding_value": str(made["entries"]).replace("None", "nil"),
        "header": header(data),
        "layout": layout([(n.replace("_", " "), len(d)) for n, d in parts.items()], made["table"]),
        "base_end": max(offset + chunk[2] for offset, chunk in chunks if chunk[0] == 0),
    }
    payloads = {"base": base, "refinement": refinement, "exact": exact}
    values |= {f"{name}_length": len(part) for name, part in (payloads | parts).items()}
    values |= {f"{name}_digest": short(digest(part)) for name, part in parts.items()}
    values |= {name: dump(part) for name, part in parts.items()}
    values["content_root_digest"] = digest(parts["content_root"]).hex()
    return Template((HERE / "worked_example.md").read_text(encoding="utf-8")).substitute(values)


def replaced(text: str) -> str:
    """Return SPEC.md's text with section 17 as it must be."""
    head, start, rest = text.partition("## 17 Worked example\n")
    _, end, tail = rest.partition("## 18 ")
    if not start or not end:
        raise ValueError("SPEC.md has no sections 17 and 18")
    return f"{head}{start}\n{section()}\n{end}{tail}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put it into SPEC.md")
    if parser.parse_args().write:
        SPEC.write_text(replaced(SPEC.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.buffer.write(section().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
