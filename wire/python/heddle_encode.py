#!/usr/bin/env python3
"""Writes Heddle frames with nothing but Python's standard library and wire/PROTOCOL.md.

The counterpart of heddle_decode.py: the layouts are read out of the page's tables, the rules of section 6 are written down
here. Values have the form of the golden files: records as dictionaries, enums by name, bytes in hexadecimal.
"""

import struct

from heddle_decode import KINDS, NUMBERS, FrameError, generic


class Writer:
    """Section 6, "What a writer must do": first all that a record points to, then the record."""

    def __init__(self, page):
        self.page = page
        self.out = bytearray()

    def body(self, record, value):
        children = self.prepare(record, value)
        self.out += self.place(record, value, children, len(self.out))
        return bytes(self.out)

    def prepare(self, type_name, value):
        """Writes what lies outside of a value, and returns where: a position, or those of the value's parts."""
        outer, inner = generic(type_name)
        if outer == "option":
            return None if value is None else self.prepare(inner, value)
        if outer == "box":
            children = self.prepare(inner, value)
            at = len(self.out)
            self.out += self.place(inner, value, children, at)
            return at
        if outer == "string":
            text = value.encode("utf-8")
            at = len(self.out)
            if len(text) > 8:
                self.out += text
            return at
        if outer == "bytes":
            at = len(self.out)
            self.out += bytes.fromhex(value)
            return at
        if outer == "list":
            children = [self.prepare(inner, item) for item in value]
            at = len(self.out)
            for item, child in zip(value, children):
                self.out += self.place(inner, item, child, len(self.out))
            return at
        if outer in self.page.unions:
            holds, inside = self.variant(outer, value)[1:]
            return self.prepare(holds, inside) if holds else None
        if outer in self.page.records:
            fields = self.page.records[outer][1]
            return {field: self.prepare(kind, value[field]) for _, _, field, kind in fields}
        return None

    def variant(self, union, value):
        """Number of a union's variant, the type of what it holds, and that."""
        (name, inside), = value.items() if isinstance(value, dict) else [(value, None)]
        for number, (variant, holds) in self.page.unions[union][1].items():
            if variant == name and (holds is None) == (inside is None):
                return number, holds, inside
        raise FrameError("%r is no %s" % (value, union))

    def place(self, type_name, value, children, at):
        """The bytes of a value that will lie at position `at`."""
        outer, inner = generic(type_name)
        if outer in NUMBERS:
            return struct.pack(NUMBERS[outer], value)
        if outer == "bool":
            return bytes([value])
        if outer == "bytes32":
            return bytes.fromhex(value)
        if outer == "option":
            if value is None:
                return bytes(1 + self.page.size_of(inner))
            return b"\x01" + self.place(inner, value, children, at + 1)
        if outer == "box":
            return struct.pack("<i", children - at)
        if outer == "string":
            text = value.encode("utf-8")
            if len(text) <= 8:
                return text + b"\xff" * (8 - len(text))
            word = (len(text) & 0x3F) | 0x80 | ((len(text) & ~0x3F) << 2)
            return struct.pack("<Ii", word, children - at)
        if outer in ("list", "bytes"):
            count = len(value) if outer == "list" else len(value) // 2
            return struct.pack("<iI", children - at, count)
        if outer in self.page.enums:
            numbers = [number for number, variant in self.page.enums[outer].items() if variant == value]
            if len(numbers) != 1:
                raise FrameError("%r is no %s" % (value, outer))
            return bytes(numbers)
        if outer in self.page.unions:
            size = self.page.unions[outer][0]
            number, holds, inside = self.variant(outer, value)
            text = self.place(holds, inside, children, at + 1) if holds else b""
            return (bytes([number]) + text).ljust(size, b"\0")
        fields = self.page.records[outer][1]
        return b"".join(
            self.place(kind, value[field], children[field], at + offset) for offset, _, field, kind in fields
        )


def encode(page, frame):
    """A whole frame from what `heddle_decode.decode` returns; `body_length` is worked out."""
    header = frame["header"]
    if header["flags"] not in KINDS:
        raise FrameError("flags %#06x" % header["flags"])
    body = Writer(page).body(frame["record"], frame["value"])
    values = dict(
        header,
        magic=int.from_bytes(b"HDL1", "little"),
        version=int(page.constants["major version"]),
        reserved=0,
        body_length=len(body),
    )
    fields = sorted((offset, size, name) for name, (offset, size) in page.header.items())
    return b"".join(values[name].to_bytes(size, "little") for _, size, name in fields) + body
