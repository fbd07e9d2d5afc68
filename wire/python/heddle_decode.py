#!/usr/bin/env python3
"""Decodes Heddle frames with nothing but Python's standard library and wire/PROTOCOL.md.

The layouts are not repeated here: they are read out of the tables of PROTOCOL.md, so that a page that says something
wrong fails on the golden frames. What is written down here are the rules of sections 3, 4, 6 and 9 of that page.

    python3 heddle_decode.py FRAME.bin...      prints each frame as JSON

Works with Python 3.8 and later.
"""

import json
import os
import re
import struct
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "PROTOCOL.md")

U64 = 2 ** 64 - 1


class FrameError(Exception):
    """The bytes are not a frame, or their body is not the record that the page promises."""


class Page:
    """The tables of PROTOCOL.md."""

    def __init__(self, text):
        self.text = text
        self.constants = {row[0]: row[1].strip("`") for row in self.rows("constants")}
        # field name -> (offset, size)
        self.header = {row[2].strip("`"): (int(row[0]), int(row[1])) for row in self.rows("header")}
        self.header_size = int(self.constants["header size"])
        # number -> (name, body limit)
        self.opcodes = {
            int(row[0].strip("`"), 16): (row[1], int(row[2])) for row in self.rows("opcodes")
        }
        self.reject_codes = {int(row[0]): row[1] for row in self.rows("reject codes")}
        self.limits = {row[0]: int(row[1]) for row in self.rows("limits")}
        # record name -> (size, [(offset, size, field, type)])
        self.records = {}
        # enum name -> {number: variant}
        self.enums = {}
        # union name -> (size, {number: (variant, type of what it holds or None)})
        self.unions = {}
        self._read_records()
        self._check_sizes()

    @classmethod
    def load(cls, path=PAGE):
        with open(path, encoding="utf-8") as page:
            return cls(page.read())

    def part(self, name):
        """The text between the marks of a generated part."""
        begin, end = "<!-- begin %s -->" % name, "<!-- end %s -->" % name
        if self.text.count(begin) != 1 or self.text.count(end) != 1:
            raise FrameError("PROTOCOL.md has no single part %r" % name)
        return self.text.split(begin)[1].split(end)[0]

    def rows(self, name):
        """The cells of a part's table, without its two head lines."""
        return table(self.part(name))

    def _read_records(self):
        for section in self.part("records").split("#### ")[1:]:
            head, _, rest = section.partition("\n")
            match = re.match(r"`(\w+)` — (\d+) bytes?$", head)
            if not match:
                raise FrameError("PROTOCOL.md: heading %r is not of a record" % head)
            name, size = match.group(1), int(match.group(2))
            rows = table(rest)
            if "| number | variant | holds |" in rest:
                holds = {
                    int(row[0]): (row[1].strip("`"), None if row[2] == "nothing" else row[2].strip("`"))
                    for row in rows
                }
                self.unions[name] = (size, holds)
            elif "| number | variant |" in rest:
                self.enums[name] = {int(row[0]): row[1].strip("`") for row in rows}
            else:
                fields = [
                    (int(row[0]), int(row[1]), row[2].strip("`"), row[3].strip("`")) for row in rows
                ]
                self.records[name] = (size, fields)

    def _check_sizes(self):
        """Sizes and offsets of every record follow from the sizes of the types of its fields."""
        for name, (size, fields) in self.records.items():
            end = 0
            for offset, field_size, field, type_name in fields:
                if offset != end or field_size != self.size_of(type_name):
                    raise FrameError("PROTOCOL.md: %s.%s does not lie where it should" % (name, field))
                end = offset + field_size
            if end != size:
                raise FrameError("PROTOCOL.md: %s is %d bytes, its fields are %d" % (name, size, end))
        for name, (size, variants) in self.unions.items():
            largest = max(self.size_of(holds) if holds else 0 for _, holds in variants.values())
            if size != 1 + largest:
                raise FrameError("PROTOCOL.md: %s is %d bytes, it needs %d" % (name, size, 1 + largest))

    def size_of(self, type_name):
        outer, inner = generic(type_name)
        if outer == "option":
            return 1 + self.size_of(inner)
        if outer in SIZES:
            return SIZES[outer]
        if outer in self.enums:
            return 1
        if outer in self.unions:
            return self.unions[outer][0]
        if outer in self.records:
            return self.records[outer][0]
        raise FrameError("PROTOCOL.md: type %r is explained nowhere" % type_name)


def table(text):
    """The cells of the Markdown tables in a text; a line of dashes follows each head."""
    rows = []
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for index, line in enumerate(lines):
        is_rule = set(line) <= set("|-: ")
        is_head = index + 1 < len(lines) and set(lines[index + 1]) <= set("|-: ")
        if not is_rule and not is_head:
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def generic(type_name):
    """`list<NodeId>` as ("list", "NodeId"); other types as (name, None)."""
    match = re.match(r"(\w+)<(.+)>$", type_name)
    return (match.group(1), match.group(2)) if match else (type_name, None)


# Section 6: the sizes of what is not named in section 7.
SIZES = {
    "bool": 1, "u16": 2, "u32": 4, "u64": 8, "i32": 4, "i64": 8, "f32": 4,
    "box": 4, "list": 8, "bytes": 8, "bytes32": 32, "string": 8,
}
NUMBERS = {"u16": "<H", "u32": "<I", "u64": "<Q", "i32": "<i", "i64": "<q", "f32": "<f"}


class Archive:
    """Section 6: one body."""

    def __init__(self, page, body):
        self.page = page
        self.body = body

    def root(self, record):
        """The record at the end of the body."""
        return self.read(record, len(self.body) - self.page.size_of(record))

    def piece(self, at, size):
        if at < 0 or size < 0 or at + size > len(self.body):
            raise FrameError("%d bytes at %d lie outside the body of %d" % (size, at, len(self.body)))
        return self.body[at:at + size]

    def number(self, kind, at):
        return struct.unpack(NUMBERS[kind], self.piece(at, SIZES[kind]))[0]

    def read(self, type_name, at):
        outer, inner = generic(type_name)
        if outer in NUMBERS:
            return self.number(outer, at)
        if outer == "bool":
            return self.tag(at) == 1
        if outer == "option":
            return self.read(inner, at + 1) if self.tag(at) == 1 else None
        if outer == "box":
            return self.read(inner, at + self.number("i32", at))
        if outer == "string":
            return self.string(at)
        if outer == "bytes":
            first, count = self.list_at(at)
            return self.piece(first, count).hex()
        if outer == "bytes32":
            return self.piece(at, 32).hex()
        if outer == "list":
            first, count = self.list_at(at)
            size = self.page.size_of(inner)
            self.piece(first, count * size)
            return [self.read(inner, first + index * size) for index in range(count)]
        if outer in self.page.enums:
            number = self.piece(at, 1)[0]
            if number not in self.page.enums[outer]:
                raise FrameError("%d is no %s" % (number, outer))
            return self.page.enums[outer][number]
        if outer in self.page.unions:
            size, variants = self.page.unions[outer]
            number = self.piece(at, size)[0]
            if number not in variants:
                raise FrameError("%d is no %s" % (number, outer))
            variant, holds = variants[number]
            return {variant: self.read(holds, at + 1)} if holds else variant
        size, fields = self.page.records[outer]
        self.piece(at, size)
        return {field: self.read(kind, at + offset) for offset, _, field, kind in fields}

    def tag(self, at):
        value = self.piece(at, 1)[0]
        if value > 1:
            raise FrameError("%d at %d is neither 0 nor 1" % (value, at))
        return value

    def list_at(self, at):
        """Position of the first item, and how many there are."""
        return at + self.number("i32", at), self.number("u32", at + 4)

    def string(self, at):
        place = self.piece(at, 8)
        if place[0] & 0xC0 == 0x80:
            word = self.number("u32", at)
            length = (word & 0x3F) | ((word & 0xFFFFFF00) >> 2)
            if length <= 8:
                raise FrameError("a text of %d bytes has to lie in place" % length)
            text = self.piece(at + self.number("i32", at + 4), length)
        else:
            text = place.split(b"\xff")[0]
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FrameError("a text is not UTF-8: %s" % error)


KINDS = {0: "request", 1: "response", 3: "reject", 5: "push"}


def decode(page, data):
    """Sections 3 and 5: one whole frame as a dictionary of record name, header and value."""
    if len(data) < page.header_size:
        raise FrameError("%d bytes are less than a header" % len(data))

    def field(name):
        offset, size = page.header[name]
        return int.from_bytes(data[offset:offset + size], "little")

    offset, size = page.header["magic"]
    if data[offset:offset + size] != b"HDL1":
        raise FrameError("the magic is %r" % data[offset:offset + size])
    if field("version") != int(page.constants["major version"]):
        raise FrameError("version %d" % field("version"))
    if field("opcode") not in page.opcodes:
        raise FrameError("opcode %#06x is not in the table" % field("opcode"))
    if field("flags") not in KINDS or field("reserved") != 0:
        raise FrameError("flags %#06x, reserved %#06x" % (field("flags"), field("reserved")))
    name, limit = page.opcodes[field("opcode")]
    if field("body_length") > limit:
        raise FrameError("body of %d bytes, accepted are %d" % (field("body_length"), limit))
    body = data[page.header_size:]
    if len(body) != field("body_length"):
        raise FrameError("body_length is %d, the body is %d bytes" % (field("body_length"), len(body)))

    kind = KINDS[field("flags")]
    record = {"request": name + "Request", "reject": "Reject"}.get(kind, name + "Response")
    if record not in page.records:
        raise FrameError("%s has no record" % record)
    return {
        "record": record,
        "header": {
            "opcode": field("opcode"),
            "opcode_name": name,
            "flags": field("flags"),
            "body_length": field("body_length"),
            "correlation_id": field("correlation_id"),
            "routing_key": field("routing_key"),
        },
        "value": Archive(page, body).root(record),
    }


def routing_key(host_and_port):
    """Section 4: FNV-1a of `host:port`."""
    key = 0xCBF29CE484222325
    for byte in host_and_port.encode("ascii"):
        key = ((key ^ byte) * 0x100000001B3) & U64
    return key


def handle(shard, row, generation):
    """Section 4: the parts of a node handle put together."""
    return shard << 56 | generation << 32 | row


def digest_share(cluster_timestamp, application_id, attempt_id, container_id):
    """Section 9: a container's share of the digest."""

    def mix(value):
        z = (value + 0x9E3779B97F4A7C15) & U64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
        return z ^ (z >> 31)

    share = mix(cluster_timestamp)
    for part in (application_id, attempt_id, container_id):
        share = mix(share ^ part)
    return share


def main(paths):
    page = Page.load()
    for path in paths:
        with open(path, "rb") as file:
            try:
                print(json.dumps(decode(page, file.read()), indent=2, ensure_ascii=False))
            except FrameError as error:
                print("%s: %s" % (path, error), file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
