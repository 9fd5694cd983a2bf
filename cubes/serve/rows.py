"""Batches of rows as the messages that carry them: DataRow in text or binary, and the lines of COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from cubes.serve.cells import Cells, cells_of, lines, messages
from cubes.serve.copy_out import CopyOptions
from cubes.serve.pg_binary import binary_cells
from cubes.serve.pg_types import wire_text

if TYPE_CHECKING:
    import pyarrow as pa

# What a CSV cell must be quoted for, beside its delimiter; a lone \\. would end the data for old readers.
_SPECIAL: Final = '"\r\n'


def data_rows(batch: pa.Table, formats: Sequence[int] = (), kind: bytes = b"D") -> bytes:
    """Every row of a settled table as DataRow messages; the whole is in memory, so hand it slices of a large table.

    `formats` has an entry for each column, 1 for binary; empty is all text. `kind` d makes CopyData of binary COPY.
    """
    places = formats or (0,) * batch.num_columns
    columns: list[Cells] = [
        binary_cells(column) if form else cells_of(wire_text(column))
        for column, form in zip(batch.columns, places, strict=True)
    ]
    return messages(kind, columns, batch.num_rows)


def copy_rows(batch: pa.Table, options: CopyOptions) -> bytes:
    """Every row of a settled table as CopyData messages, one a row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if options.form == "binary":
        return data_rows(batch, (1,) * batch.num_columns, b"d")
    if batch.num_rows == 0:
        return b""
    escape = _csv if options.form == "csv" else _text
    columns = [pc.fill_null(escape(wire_text(column), options), options.null) for column in batch.columns]
    end = pa.array(["\n"] * batch.num_rows)
    if not columns:
        return lines(cells_of(end))
    joined = pc.binary_join_element_wise(*columns, options.delimiter)
    return lines(cells_of(pc.binary_join_element_wise(joined, "\n", "")))


def with_head(head: bytes, data: bytes, options: CopyOptions) -> bytes:
    """What stands before the rows, and the first messages; in binary form it is part of the first message."""
    if options.form != "binary" or not head:
        return head + data
    size = int.from_bytes(data[1:5], "big")
    return _copy_data(head[5:] + data[5 : 1 + size]) + data[1 + size :]


def copy_head(names: Sequence[str], options: CopyOptions) -> bytes:
    """The message before the rows: the header line, or the signature of the binary form; none for plain text."""
    import pyarrow as pa

    if options.form == "binary":
        return _copy_data(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    if not options.header:
        return b""
    escape = _csv if options.form == "csv" else _text
    cells = escape(pa.array(list(names), pa.string()), options).to_pylist()
    return _copy_data((options.delimiter.join(cells) + "\n").encode())


def copy_tail(options: CopyOptions) -> bytes:
    """The message behind the rows: the end mark of the binary form."""
    return _copy_data(b"\xff\xff") if options.form == "binary" else b""


def _copy_data(body: bytes) -> bytes:
    return b"d" + (len(body) + 4).to_bytes(4, "big") + body


def _text(texts: pa.Array, options: CopyOptions) -> pa.Array:
    """Backslashes before what would end a cell or a line."""
    import pyarrow.compute as pc

    for plain, escaped in (
        ("\\", "\\\\"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
        ("\b", "\\b"),
        ("\f", "\\f"),
        ("\v", "\\v"),
    ):
        texts = pc.replace_substring(texts, plain, escaped)
    if options.delimiter != "\t":
        texts = pc.replace_substring(texts, options.delimiter, "\\" + options.delimiter)
    return texts


def _csv(texts: pa.Array, options: CopyOptions) -> pa.Array:
    """Quotes around a cell with the delimiter, a quote or a line end in it, and around one that reads as NULL."""
    import pyarrow.compute as pc

    odd = pc.equal(texts, options.null)
    odd = pc.or_(odd, pc.equal(texts, "\\."))
    for mark in (*_SPECIAL, options.delimiter):
        odd = pc.or_(odd, pc.match_substring(texts, mark))
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(odd, quoted, texts)
