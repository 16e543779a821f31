"""Damage to files, drawn at random: bytes, words and lines, and containers packed again so that what is inside lies."""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Draw = np.random.Generator

WORDS = (
    *(
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1e308",
        "1e39",
        "1e18",
        "-5",
        "0",
        "-0",
        "1e-400",
        "99999999999999999999",
        "0x10",
    ),
    *("1_0", "\u0663", "x", "", "\x00", "invalid", "../../../etc/passwd", "/etc/passwd", "..", "a" * 300, "a" * 70_000),
    *("C:\\x.png", "\ud7ff\u2028", "true", "null", "[]", "{}", "9" * 5000, "[" * 3000, "\\", "a/../..", "none"),
)
"""Put in place of a number or name."""
WHOLE = (0, 1, -1, 2, 127, 128, 255, 10_000, 65_535, 2**24, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, -(2**63))
"""Put in place of a size."""
SHAPES = (
    "(-1, 5)",
    "(0,)",
    "()",
    "(1, 1)",
    "(1000000000, 1000)",
    "(3, 10000, 10000)",
    "(2.5, 4)",
    "[2, 3]",
    "5",
    "(None,)",
)
TYPES = ("|O", ">f4", "<f8", ">u2", "<i8", "|S9", "<U99", "<c16", "|b1", "<M8[s]", "|V7", "<f2", "", "<f1000000000")


def flip(data: bytes, draw: Draw) -> bytes:
    """Some bits."""
    out = bytearray(data or b"\0")
    for _ in range(int(draw.choice([1, 1, 2, 4, 32]))):
        out[_place(out, draw)] ^= 1 << int(draw.integers(8))
    return bytes(out)


def overwrite(data: bytes, draw: Draw) -> bytes:
    """A number of 1 to 8 bytes."""
    out, width = bytearray(data or b"\0"), int(draw.choice([1, 2, 4, 8]))
    value = int(draw.choice(np.array(WHOLE, object))) & (256**width - 1)
    at = _place(out, draw)
    out[at : at + width] = value.to_bytes(width, "little" if draw.random() < 0.7 else "big")
    return bytes(out[: len(data)])


def truncate(data: bytes, draw: Draw) -> bytes:
    """The beginning alone."""
    return data[: int(draw.integers(len(data) + 1))]


def lengthen(data: bytes, draw: Draw) -> bytes:
    """Bytes after the end."""
    return data + draw.bytes(int(draw.integers(1, 5000)))


def cut(data: bytes, draw: Draw) -> bytes:
    """A piece taken out, doubled or moved."""
    a, b = sorted(int(x) for x in draw.integers(0, len(data) + 1, 2))
    return (data[:a] + data[b:], data[:b] + data[a:], data[b:] + data[:b])[int(draw.integers(3))]


def fill(data: bytes, draw: Draw) -> bytes:
    """A piece of one value, or of noise."""
    a, b = sorted(int(x) for x in draw.integers(0, len(data) + 1, 2))
    return (
        data[:a] + (bytes([int(draw.choice([0, 255]))]) * (b - a), draw.bytes(b - a))[int(draw.integers(2))] + data[b:]
    )


def swap(data: bytes, draw: Draw) -> bytes:
    """Every 2, 4 or 8 bytes the other way round from a place on."""
    width, at = int(draw.choice([2, 4, 8])), int(draw.choice([0, _place(data, draw)]))
    end = at + (len(data) - at) // width * width
    return data[:at] + np.frombuffer(data[at:end], np.uint8).reshape(-1, width)[:, ::-1].tobytes() + data[end:]


def nothing(data: bytes, draw: Draw) -> bytes:
    """Empty, a single byte, or noise."""
    return (b"", b"\n", draw.bytes(int(draw.integers(1, 3000))))[int(draw.integers(3))]


def word(data: bytes, draw: Draw) -> bytes:
    """One or some words of a text replaced."""
    rows = [row.split(b" ") for row in data.split(b"\n")]
    for _ in range(int(draw.choice([1, 1, 3]))):
        row = rows[int(draw.integers(len(rows)))]
        row[int(draw.integers(len(row)))] = WORDS[int(draw.integers(len(WORDS)))].encode("utf-8", "replace")
    return b"\n".join(b" ".join(row) for row in rows)


def line(data: bytes, draw: Draw) -> bytes:
    """Lines left out, doubled, joined, swapped or moved."""
    rows = data.split(b"\n")
    a, b = (int(x) for x in draw.integers(0, len(rows), 2))
    match int(draw.integers(5)):
        case 0:
            del rows[a]
        case 1:
            rows.insert(b, rows[a])
        case 2:
            rows[a : a + 2] = [b" ".join(rows[a : a + 2])]
        case 3:
            rows[a], rows[b] = rows[b], rows[a]
        case _:
            rows *= int(draw.choice([2, 50]))
    return b"\n".join(rows)


def spelling(data: bytes, draw: Draw) -> bytes:
    """Another encoding, other ends of lines, other blanks."""
    text = data.decode("utf-8", "replace")
    pairs = (
        (" ", "\t"),
        (" ", ","),
        ("\n", "\r\n"),
        ("\n", "\r"),
        (".", ","),
        ("\n", "\x0b"),
        (" ", "\xa0"),
        ("-", "\u2212"),
    )
    old, new = pairs[int(draw.integers(len(pairs)))]
    encoded = (text.encode("utf-16"), b"\xef\xbb\xbf" + data, text.replace(old, new).encode(), text.encode("utf-7"))
    return encoded[int(draw.integers(len(encoded)))]


def json_value(data: bytes, draw: Draw) -> bytes:
    """One value of a JSON object, at any depth, replaced, left out or renamed."""
    values: tuple[object, ...] = (
        *(None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, 2**70, "", "x", "nan", [], {}, [1, 2], [None]),
        *({"a": 1}, "a" * 100_000, "\ud800", "../..", "/", "a\0b", [[[[]]]], 1e-300, "0", [1e400]),
    )
    found = json.loads(data)
    place = found
    while isinstance(place, dict | list) and place:
        key = list(place)[int(draw.integers(len(place)))] if isinstance(place, dict) else int(draw.integers(len(place)))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.8:
            place = inner
            continue
        match int(draw.integers(4)):
            case 0 if isinstance(place, dict):
                place["extra" if draw.random() < 0.5 else "\x00"] = place.pop(key)
            case 1:
                del place[key]
            case _:
                place[key] = values[int(draw.integers(len(values)))]
        break
    return json.dumps(found).encode()


def png_size(data: bytes, draw: Draw) -> bytes:
    """Another size, depth or kind in the header of a PNG, with the right checksum."""
    sizes = (0, 1, 2, 7, 639, 641, 10_000, 30_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
    width, height = (sizes[int(k)] for k in draw.integers(0, len(sizes), 2))
    kinds = bytes([int(draw.choice([1, 8, 16, 32])), int(draw.choice([0, 2, 3, 4, 6, 9])), 0, 0, int(draw.integers(3))])
    body = b"IHDR" + struct.pack(">2I", width, height) + (data[24:29] if draw.random() < 0.7 else kinds)
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def png_bomb(data: bytes, draw: Draw) -> bytes:
    """A PNG of far more pixels than bytes."""
    side = int(draw.choice([9000, 12_000, 40_000]))
    body = b"IHDR" + struct.pack(">2I5B", side, side, 16, 0, 0, 0, 0)
    packed = zlib.compress(bytes(1 << 22), 9) * 4
    parts = (body, b"IDAT" + packed, b"IEND")
    return data[:8] + b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)


def npy_header(data: bytes, draw: Draw) -> bytes:
    """Another shape, type or order in the header of an .npy file."""
    if data[:6] != b"\x93NUMPY":
        return flip(data, draw)
    length = struct.unpack_from("<H", data, 8)[0]
    head = data[10 : 10 + length].decode("latin1")
    shape, kind = head[head.index("(") : head.index(")") + 1], head.split("'")[3]
    match int(draw.integers(5)):
        case 0:
            head = head.replace(shape, SHAPES[int(draw.integers(len(SHAPES)))])
        case 1:
            head = head.replace(kind, TYPES[int(draw.integers(len(TYPES)))])
        case 2:
            head = head.replace("False", "True")
        case 3:
            head = "(" * 400 + head
        case _:
            head = word(head.encode(), draw).decode("utf-8", "replace")
    encoded = head.encode("latin1", "replace")[:65_000]
    return data[:8] + struct.pack("<H", len(encoded)) + encoded + data[10 + length :]


def zip_member(data: bytes, draw: Draw) -> bytes:
    """A file inside an archive damaged, doubled, renamed or left out, and packed again with right checksums."""
    out = io.BytesIO()
    warnings.filterwarnings("ignore", "Duplicate name")
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as packed:
        members = archive.infolist()
        hit = int(draw.integers(len(members)))
        what = int(draw.integers(6))
        for k, member in enumerate(members):
            content, name = archive.read(member), member.filename
            if k == hit:
                inner = (
                    npy_header
                    if name.endswith(".npy") and draw.random() < 0.6
                    else BYTES[int(draw.integers(len(BYTES)))]
                )
                content = content if what in (0, 1, 2) else inner(content, draw)
                name = "../" * 5 + "/etc/x" if what == 0 else name
                if what == 1:
                    continue
            method = zipfile.ZIP_DEFLATED if what == 5 else member.compress_type
            packed.writestr(name, content, method)
            if k == hit and what == 2:
                packed.writestr(name + ("" if draw.random() < 0.5 else ".npy"), content, method)
    return out.getvalue()


def zip_bomb(data: bytes, draw: Draw) -> bytes:
    """An array of zeros that packs a thousand times smaller, in place of one of an archive's."""
    size = int(draw.choice([1 << 27, 1 << 28]))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (size // 1600, 20, 20)}
    )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    out, zeros = io.BytesIO(), bytes(1 << 20)
    name = names[int(draw.integers(len(names)))]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed, packed.open(name, "w") as member:
        member.write(header.getvalue())
        for _ in range(size >> 20):
            member.write(zeros)
    return out.getvalue()


def tensors_header(data: bytes, draw: Draw) -> bytes:
    """Another value in the header of a .safetensors file, of the right length."""
    length = struct.unpack_from("<Q", data)[0]
    head = json_value(data[8 : 8 + length], draw)
    return struct.pack("<Q", len(head)) + head + data[8 + length :]


Mutation = Callable[[bytes, Draw], bytes]
BYTES: tuple[Mutation, ...] = (flip, flip, overwrite, overwrite, truncate, lengthen, cut, fill, swap, nothing)
TEXT: tuple[Mutation, ...] = (word, word, word, line, spelling)
PNG: tuple[Mutation, ...] = (png_size,)
NPY: tuple[Mutation, ...] = (npy_header, npy_header)
ZIP: tuple[Mutation, ...] = (zip_member, zip_member, zip_member)
JSON: tuple[Mutation, ...] = (json_value, json_value, json_value)
TENSORS: tuple[Mutation, ...] = (tensors_header, tensors_header)
RARELY: dict[Mutation, tuple[Mutation, ...]] = {png_size: (png_bomb,), zip_member: (zip_bomb,)}
"""What takes long to make, and so is drawn once in fifty times in the place of another."""


def mutated(data: bytes, others: Sequence[bytes], special: tuple[Mutation, ...], draw: Draw) -> tuple[str, bytes]:
    """(name of the damage, damaged bytes).

    Args:
        data: a good file.
        others: good files of other kinds, to be put in its place or joined to it.
        special: what only files of this kind take.
        draw: where chance comes from.
    """
    if draw.random() < 0.05:
        other = others[int(draw.integers(len(others)))]
        at, start = int(draw.integers(len(data) + 1)), int(draw.integers(len(other) + 1))
        return ("other", other) if draw.random() < 0.5 else ("splice", data[:at] + other[start:])
    pool = special if special and draw.random() < 0.6 else BYTES
    chosen = pool[int(draw.integers(len(pool)))]
    if chosen in RARELY and draw.random() < 0.02:
        chosen = RARELY[chosen][0]
    return chosen.__name__, chosen(data, draw)


def _place(data: bytes | bytearray, draw: Draw) -> int:
    """An index: half of the time among the first or last bytes, where headers are."""
    n = max(len(data), 1)
    near = int(draw.choice([16, 64, 512]))
    start = int(draw.integers(min(n, near)))
    return int(draw.choice([start, n - 1 - start, int(draw.integers(n)), int(draw.integers(n))]))
