"""Values of one column as bytes, and rows of them as messages, laid out at once with numpy.

A Python loop over cells is twenty times slower than these scatters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

# Bytes of an average value from which on values are copied one by one.
_LONG: Final = 256


@dataclass(frozen=True)
class Cells:
    """One column: which rows are NULL, the bytes of each value (0 for NULL), and all of them in one run."""

    is_null: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    def put(self, out: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> None:
        """Scatter the rows' bytes to their places: row i begins at `at[i]`."""
        import numpy as np

        first = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        if len(self.data) > _LONG * len(self.sizes):
            # The scatter below takes 16 bytes to a byte: too much for long texts, of which there are few.
            for begin, size, place in zip(first.tolist(), self.sizes.tolist(), at.tolist(), strict=True):
                out[place : place + size] = self.data[begin : begin + size]
            return
        out[np.repeat(at - first, self.sizes) + np.arange(len(self.data))] = self.data


def nulls_of(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values are NULL."""
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=bool)


def cells_of(array: pa.Array) -> Cells:
    """The values of a string or binary array (32-bit offsets) as they lie there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(array, pa.scalar(b"", array.type) if pa.types.is_binary(array.type) else "")
    filled = filled if array.null_count else array
    buffers = filled.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int32, count=filled.offset + len(filled) + 1)[filled.offset :]
    whole = np.frombuffer(buffers[2], dtype=np.uint8) if buffers[2] is not None else np.zeros(0, dtype=np.uint8)
    return Cells(nulls_of(array), np.diff(offsets).astype(np.int64), whole[int(offsets[0]) : int(offsets[-1])])


def messages(kind: bytes, columns: Sequence[Cells], rows: int) -> bytes:
    """A message of type `kind` for each row: the number of columns, then every cell with its length before it."""
    import numpy as np

    if rows == 0:
        return b""
    count = len(columns)
    sizes = np.full(rows, 7 + 4 * count, dtype=np.int64)
    for column in columns:
        sizes += column.sizes
    starts = np.concatenate([[0], np.cumsum(sizes)])
    out = np.zeros(int(starts[-1]), dtype=np.uint8)
    at = starts[:-1].copy()
    out[at] = kind[0]
    _put_int32(out, at + 1, sizes - 1)
    out[at + 5], out[at + 6] = count >> 8, count & 0xFF
    at += 7
    for column in columns:
        _put_int32(out, at, np.where(column.is_null, -1, column.sizes))
        at += 4
        column.put(out, at)
        at += column.sizes
    return out.tobytes()


def lines(cells: Cells) -> bytes:
    """A CopyData message for each row of texts."""
    import numpy as np

    if len(cells.sizes) == 0:
        return b""
    starts = np.concatenate([[0], np.cumsum(cells.sizes + 5)])
    out = np.zeros(int(starts[-1]), dtype=np.uint8)
    at = starts[:-1].copy()
    out[at] = ord("d")
    _put_int32(out, at + 1, cells.sizes + 4)
    cells.put(out, at + 5)
    return out.tobytes()


def _put_int32(out: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], values: Any) -> None:
    """Big-endian integers at the given places."""
    for shift in range(4):
        out[at + shift] = (values >> (24 - 8 * shift)) & 0xFF
