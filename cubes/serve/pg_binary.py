"""Arrow columns in PostgreSQL's binary format: what asyncpg always asks for, and psycopg and pgjdbc when told to.

Numbers, dates and times are laid out by numpy; only intervals, arrays and decimals beyond 64 bits are made one by one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from cubes.serve.cells import Cells, cells_of, nulls_of
from cubes.serve.pg_types import PG_TYPES, type_of, wire_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

# PostgreSQL counts from 2000-01-01.
_DAYS: Final = 10_957
_MICROSECONDS: Final = _DAYS * 86_400_000_000
_NUMBERS: Final = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "oid": ">u4", "float4": ">f4", "float8": ">f8"}
_BASE: Final = 10_000


def binary_cells(column: pa.ChunkedArray | pa.Array) -> Cells:
    """A settled column's values in binary format."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind, is_array = type_of(array.type)
    if is_array:
        return _listed(array)
    name = kind.name
    if name in _NUMBERS:
        return _fixed(array, _NUMBERS[name])
    if name == "bool":
        return _fixed(array, "u1")
    if name == "numeric":
        return _numerics(array)
    if name in ("timestamp", "timestamptz"):
        moments = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
        return _fixed(moments, ">i8", -_MICROSECONDS)
    if name == "date":
        return _fixed(array.cast(pa.date32()).cast(pa.int32()), ">i4", -_DAYS)
    if name == "time":
        return _fixed(array.cast(pa.time64("us")).cast(pa.int64()), ">i8")
    if name == "interval":
        return _each([None if value is None else _interval(value) for value in array.to_pylist()])
    if name == "bytea":
        return cells_of(array.cast(pa.binary()))
    return cells_of(wire_text(array))


def _fixed(array: pa.Array, form: str, shift: int = 0) -> Cells:
    """Values of one width; `shift` moves them to PostgreSQL's epoch."""
    import numpy as np
    import pyarrow.compute as pc

    nulls = nulls_of(array)
    held = pc.drop_null(array).to_numpy(zero_copy_only=False)
    made = np.ascontiguousarray((held + shift if shift else held).astype(form))
    return Cells(nulls, np.where(nulls, 0, made.dtype.itemsize).astype(np.int64), made.view(np.uint8).reshape(-1))


def _each(values: list[bytes | None]) -> Cells:
    import pyarrow as pa

    return cells_of(pa.array(values, pa.binary()))


def _numerics(array: pa.Array) -> Cells:
    """Decimals and unsigned numbers: groups of four digits around the point, with as many places as the text shows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_decimal(array.type):
        array = array.cast(pa.decimal128(38, 0))
    scale = array.type.scale
    held = pc.drop_null(array)
    words = _words(held)
    room = 10 ** (-scale % 4)
    if held.type.bit_width != 128 or (len(words) and not _is_small(words, room)):
        texts = wire_text(array).to_pylist()
        return _each([None if text is None else numeric_bytes(text) for text in texts])
    whole = words[:, 0].astype(np.int64)
    nulls = nulls_of(array)
    made, sizes = _groups(np.abs(whole), whole < 0, scale)
    every = np.zeros(len(array), dtype=np.int64)
    every[~nulls] = sizes
    return Cells(nulls, every, made)


def _words(held: pa.Array) -> npt.NDArray[np.int64]:
    """The two halves of each 128-bit value, the lower one first."""
    import numpy as np

    if held.type.bit_width != 128:
        return np.zeros((0, 2), dtype=np.int64)
    buffer = held.buffers()[1]
    start = held.offset * 2
    return np.frombuffer(buffer, dtype="<i8", count=start + 2 * len(held))[start:].reshape(-1, 2)


def _is_small(words: npt.NDArray[np.int64], room: int) -> bool:
    """Whether every value fits one half, with room to be multiplied."""
    import numpy as np

    low = words[:, 0]
    most = (2**63 - 1) // room
    return bool(np.all(words[:, 1] == low >> 63) and np.all(low <= most) and np.all(low >= -most))


def _groups(
    value: npt.NDArray[np.int64], negative: npt.NDArray[np.bool_], scale: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of all values in one run, and the size of each."""
    import numpy as np

    rows = len(value)
    shown, rest = np.full(rows, scale, dtype=np.int64), value.copy()
    for _ in range(scale):
        even = (rest % 10 == 0) & (shown > 0)
        rest[even] //= 10
        shown[even] -= 1
    behind = -(-scale // 4)
    padded = value * 10 ** (4 * behind - scale)
    count = max(behind, 1)
    while rows and int(padded.max()) >= _BASE**count and count < 5:
        count += 1
    digits = np.zeros((rows, count), dtype=np.int64)
    for place in range(count - 1, -1, -1):
        digits[:, place] = padded % _BASE
        padded = padded // _BASE
    used = digits != 0
    some = used.any(axis=1)
    first = np.where(some, used.argmax(axis=1), 0)
    last = np.where(some, count - used[:, ::-1].argmax(axis=1), 0)
    heads = np.zeros((rows, 4), dtype=">i2")
    heads[:, 0] = np.where(some, last - first, 0)
    heads[:, 1] = np.where(some, count - behind - 1 - first, 0)
    heads[:, 2] = np.where(negative, 0x4000, 0)
    heads[:, 3] = shown
    places = np.arange(count)
    keep = (places >= first[:, None]) & (places < last[:, None])
    table = np.concatenate([heads, digits.astype(">i2")], axis=1)
    kept = np.concatenate([np.ones((rows, 4), dtype=bool), keep], axis=1)
    made = np.ascontiguousarray(table[kept].astype(">i2")).view(np.uint8)
    return made, 8 + 2 * heads[:, 0].astype(np.int64)


def numeric_bytes(text: str) -> bytes:
    """One number in plain decimal notation, of any size."""
    negative, text = text.startswith("-"), text.lstrip("-")
    whole, _, part = text.partition(".")
    whole = whole.lstrip("0")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    padded = part.ljust(-(-len(part) // 4) * 4, "0")
    digits = [int((whole + padded)[at : at + 4]) for at in range(0, len(whole + padded), 4)]
    weight = len(whole) // 4 - 1
    while digits and digits[0] == 0:
        digits, weight = digits[1:], weight - 1
    while digits and digits[-1] == 0:
        digits.pop()
    head = (len(digits), weight if digits else 0, 0x4000 if negative and digits else 0, len(part))
    return struct.pack(f"!hhHh{len(digits)}h", *head, *digits)


def _interval(value: Any) -> bytes:
    """Microseconds, days and months; finer parts than microseconds are cut, as PostgreSQL has none."""
    if isinstance(value, tuple):
        months, days, nanos = value
        return struct.pack("!qii", int(nanos / 1000), days, months)
    return struct.pack("!qii", value.seconds * 10**6 + value.microseconds, value.days, 0)


def _listed(array: pa.Array) -> Cells:
    """One-dimensional arrays: dimensions, whether there are NULLs, the elements' type, and the elements."""
    inner, _ = type_of(array.type)
    cells = binary_cells(array.flatten())
    data, ends = cells.data.tobytes(), cells.sizes.cumsum().tolist()
    items = []
    for null, size, end in zip(cells.is_null.tolist(), cells.sizes.tolist(), ends, strict=True):
        items.append(None if null else data[end - size : end])
    made: list[bytes | None] = []
    at = 0
    for size in array.value_lengths().to_pylist():
        held = items[at : at + (size or 0)]
        made.append(None if size is None else array_bytes(held, PG_TYPES[inner.name].oid))
        at += size or 0
    return _each(made)


def array_bytes(items: list[bytes | None], oid: int) -> bytes:
    """One array of elements in binary form."""
    if not items:
        return struct.pack("!iii", 0, 0, oid)
    parts = [struct.pack("!iiiii", 1, int(None in items), oid, len(items), 1)]
    for item in items:
        parts.append(struct.pack("!i", -1) if item is None else struct.pack("!i", len(item)) + item)
    return b"".join(parts)
