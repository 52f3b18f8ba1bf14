"""Write section 17 of SPEC.md: one tiny artifact, carried through all sections in real bytes.

``python spec/generate/worked_example.py`` prints the section's text, ``--write`` puts it into
SPEC.md between the headings of sections 17 and 18.
"""

import argparse
import struct
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

import ladder
from builder import Build, Recipe
from source import Ladder, Tensor, safetensors
from wire import digest

SPEC = Path(__file__).resolve().parents[2] / "SPEC.md"
WORDS = [0x3F80, 0xBF00, 0x3E12, 0x8000, 0x3D4D, 0x4F12, 0xBD99, 0x0003]
STEP = -6
TIERS = [("q4", 0), ("q8", 4), ("exact", None)]


def recipe() -> Recipe:
    """Return eight BF16 weights with one outlier, and an opaque tensor."""
    weights = Tensor("w", "BF16", [2, 4], struct.pack("<8H", *WORDS), Ladder([[STEP]], segment=8))
    step = Tensor("step", "I32", [], struct.pack("<i", 1000))
    return Recipe([weights, step], [safetensors("m.safetensors", [weights, step])], TIERS)


def dump(data: bytes, width: int = 32) -> list[str]:
    """Return bytes in hex, so many a line, indented as a code block."""
    lines = [data[i : i + width].hex(" ", -4) for i in range(0, len(data), width)]
    return ["    " + line for line in lines] or ["    (no bytes)"]


def short(name: bytes) -> str:
    """Return the beginning of a digest."""
    return f"`{name.hex()[:16]}…`"


def number(value: Any) -> str:  # noqa: ANN401 - a Fraction that is a short decimal
    """Return an exact decimal where that is short, else four digits of it."""
    exact = float(value)
    return f"{exact:g}" if float(f"{exact:g}") == exact else f"{exact:.6g}"


def weight_rows(build: Build) -> list[str]:
    """Return the table of weights: symbols, digits and what is left."""
    quantized = build.quantized["w"]
    block, dtype = quantized.blocks[0], quantized.dtype
    rows = [
        "| i | word | value | m = n₀ | symbol | n₁ | digit | E | r | R | x |",
        "|" + "---|" * 11,
    ]
    for i, word in enumerate(block.words):
        negative, magnitude = dtype.split(word)
        value = ("-" if negative else "") + number(dtype.value(magnitude))
        symbol = f"`{block.symbols[i]:02x}`"
        m = ladder.bin_number(dtype, word, STEP)
        if i not in block.inner:
            cells = [str(m), symbol + " outlier", "", "0", "", "", "", ""]
        else:
            n, k = block.n(i, 1), STEP - 4
            r = ladder.remainder_bits(dtype, n, k)
            x, e = "", str(magnitude >> dtype.mantissa)
            if n == 0:
                x = str(ladder.top_exponent(dtype, k) - (magnitude >> dtype.mantissa))
            cells = [str(m), symbol, str(n), str(n % 16), e, str(r), str(magnitude % (1 << r)), x]
        rows.append(f"| {i} | `{word:04x}` | {value} | " + " | ".join(cells) + " |")
    return rows


def layer_lines(build: Build) -> list[str]:
    """Return the payloads of the block's three layers, field by field."""
    base, middle, exact = (build.payloads["w", tier, 0] for tier in range(3))
    lines = ["**Base layer** (6.1), " + f"{len(base)} bytes:", ""]
    fields = [("flags", 1), ("K = -6", 2), ("symbols", 8), ("outlier count", 4)]
    fields += [("outlier index", 4), ("outlier value", 2)]
    at = 0
    for name, size in fields:
        lines.append(f"    {base[at : at + size].hex(' ', 1):<24} {name}")
        at += size
    assert at == len(base)
    lines += [
        "",
        f"**Refinement layer** (6.2), eight digits of four bits, low nibble first, {len(middle)} bytes:",
    ]
    lines += ["", *dump(middle), ""]
    zeros = sum(
        build.quantized["w"].blocks[0].n(i, 1) == 0 for i in build.quantized["w"].blocks[0].inner
    )
    lines += [
        f"**Exact layer** (6.3), {len(exact)} bytes: {zeros} bytes `x`, no planes (p = 0), then `r` bits of each weight:",
        "",
        f"    {exact[:zeros].hex(' ', 1):<24} exponents of weights 3 and 7",
        f"    {exact[zeros:].hex(' ', 1):<24} bits",
        "",
    ]
    return lines


def tier_rows(build: Build) -> list[str]:
    """Return what each tier gives for each weight."""
    quantized = build.quantized["w"]
    rows = ["| tier | Kt | delta0 | delta1 | words | digest of the tensor |", "|" + "---|" * 6]
    for tier, (delta0, delta1, bound, _) in enumerate(quantized.tiers):
        data = quantized.at_tier(tier)
        words = " ".join(f"{word:04x}" for word in struct.unpack("<8H", data))
        name = f"`{TIERS[tier][0]}`"
        rows.append(
            f"| {name} | {bound} | {delta0} | {delta1} | `{words}` | {short(digest(data))} |"
        )
    data = quantized.tensor.data
    words = " ".join(f"{word:04x}" for word in struct.unpack("<8H", data))
    rows.append(f"| `exact` | | | | `{words}` | {short(digest(data))} |")
    return rows


def layout_rows(data: bytes) -> list[str]:
    """Return the header's fields."""
    fields = [
        ("magic", 8, None), ("major, minor", 4, "<HH"), ("flags", 4, "<I"),
        ("digest of the content root", 32, None), ("digest of the encoding root", 32, None),
        ("length of the content root", 4, "<I"), ("length of the encoding root", 4, "<I"),
        ("manifest length", 8, "<Q"), ("file length", 8, "<Q"), ("entries", 8, "<Q"),
        ("first 16 bytes of the digest of bytes 0..112", 16, None),
    ]  # fmt: skip
    lines, at = [], 0
    for name, size, form in fields:
        raw = data[at : at + size]
        shown = raw.hex(" ", 4) if size > 16 else raw.hex(" ", 1)
        value = "" if form is None else " = " + ", ".join(map(str, struct.unpack(form, raw)))
        lines.append(f"    {at:>3}  {name}{value}")
        lines.append(f"         {shown}")
        at += size
    return lines


def section() -> str:
    """Return the text of section 17, without its heading."""
    made: dict[str, Any] = {}

    def keep(stage: str) -> Any:  # noqa: ANN401 - a hook
        def hook(value: Any, key: Any) -> Any:  # noqa: ANN401
            made[stage, key] = value
            return value

        return hook

    source = recipe()
    source.hooks = {
        stage: keep(stage)
        for stage in (
            "content",
            "encoding",
            "root_bytes",
            "other_bytes",
            "table",
            "records",
            "entries",
        )
    }
    build = Build(source)
    data = build.bytes()
    content, encoding = made["content", 0], made["encoding", 0]
    root, other, table = made["root_bytes", None], made["other_bytes", None], made["table", None]
    layers = [(name, tier) for name, tier, _ in build.payloads]
    parameters = made["records", 0][1][6]
    lines = [
        "Written by `spec/generate/worked_example.py`; a test compares. The file is the vector "
        "[`worked-example.p2u`](spec/vectors/worked-example.p2u).",
        "",
        "**Source.** A file `m.safetensors` with two tensors: `w`, BF16 of shape [2, 4], and `step`, I32 of rank 0 with the "
        "value 1000. The tiers are `q4` (d = 0), `q8` (d = 4) and `exact`. `w` is one block and one segment with K = -6, "
        "so the step is 2^-6 at `q4` and 2^-10 at `q8`; `step` and the file's head are opaque and travel in tier 0. "
        "(A writer would make so small a tensor opaque; a reader does not mind.)",
        "",
        "**Weights** (4). Weight 5 is 9.125 * 2^28, far above 127 steps: an outlier. Weight 3 is -0, weight 7 is subnormal; "
        "both are in bin 0, so their exponent fields are stored, as `x = top - E` with "
        f"`top = min(max(-10 - emin, 0), 254) = {ladder.top_exponent(build.quantized['w'].dtype, STEP - 4)}`. "
        "`n₁` is `m << 4 | digit`.",
        "",
        *weight_rows(build),
        "",
        *layer_lines(build),
        "**Reconstruction.** The reconstruction bytes are the mean places in the bins (11). With them each tier gives, in words:",
        "",
        *tier_rows(build),
        "",
        "`q4` of weight 2, for example: n = 9, K0 = -6, `u = max(3 - 6, -126) - 7 = -10 < -6`, so the magnitude is "
        f"`min((256 * 9 + {parameters[2][0][1]}) * 2^-14, 10 * 2^-6 - 2^-10, F)`, rounded to BF16.",
        "",
        "**Payloads, digests, chunks** (6, 7). Every layer here is a chunk of codec `raw`, so its chunk id is its layer digest; for "
        "opaque layers that is the block digest as well. The block digest of `w` is "
        f"{short(digest(build.quantized['w'].tensor.data))}.",
        "",
        "| layer | tier | bytes | layer digest = chunk id |",
        "|---|---|---|---|",
    ]
    for (name, tier), payload in zip(layers, build.payloads.values(), strict=True):
        lines.append(f"| `{name}` | {tier} | {len(payload)} | {short(digest(payload))} |")
    energy, mantissa = parameters[3], parameters[2][0][3]
    lines += [
        "",
        "**Content page** (8.2, 8.3), canonical msgpack: the records `step`, `w` and `m.safetensors`. The parameters of `w` are "
        f"`{parameters}`: segment length, planes, `[delta0, delta1, B, error]` of each lossy tier, energy; "
        f"so the sum of squares is {energy[0]} * 2^{energy[1]}, and the squared error after `q4` is {mantissa[0]} * 2^{mantissa[1]}.",
        "",
        *dump(content),
        "",
        f"{len(content)} bytes, digest {short(digest(content))}.",
        "",
        f"**Encoding page** (8.5): `{entries_text(made['entries', 0])}`.",
        "",
        *dump(encoding),
        "",
        f"{len(encoding)} bytes, digest {short(digest(encoding))}.",
        "",
        "**Content root** (8.1), which is the identity of the artifact, "
        f"{len(root)} bytes, digest `{digest(root).hex()}`:",
        "",
        *dump(root),
        "",
        f"**Encoding root** (8.4), {len(other)} bytes, digest {short(digest(other))}:",
        "",
        *dump(other),
        "",
        "**Header** (9):",
        "",
        *layout_rows(data),
        "",
        f"The roots follow at 128 and {128 + len(root)}, the content page at {128 + len(root) + len(other)}, the encoding page at "
        f"{128 + len(root) + len(other) + len(content)}, the location table at {table[0] - 8 * len(table)}, the first chunk at {min(table)}. "
        f"The table has, in the page's order of chunks, the offsets {', '.join(map(str, table))}; the file ends at {len(data)}. "
        f"A prefix of {tier_end(table, data, made)} bytes or more holds `q4` whole.",
    ]  # fmt: skip
    return "\n".join(map(wrap, lines)) + "\n"


def wrap(line: str) -> str:
    """Return a line of prose as lines of 120 columns; tables and code stay."""
    return (
        line
        if line.startswith(("|", "    "))
        else fill(line, 120, break_long_words=False, break_on_hyphens=False)
    )


def entries_text(page: list[Any]) -> str:
    """Return an encoding page as text."""
    return str(page).replace("None", "nil")


def tier_end(table: list[int], data: bytes, made: dict[str, Any]) -> int:
    """Return where the chunks of the base tier end."""
    chunks = made["entries", 0][0]
    ends = [offset + chunk[2] for offset, chunk in zip(table, chunks, strict=True) if chunk[0] == 0]
    assert max(ends) <= len(data)
    return max(ends)


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
        sys.stdout.write(section())
    return 0


if __name__ == "__main__":
    sys.exit(main())
