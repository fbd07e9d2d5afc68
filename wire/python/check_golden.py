#!/usr/bin/env python3
"""Checks the golden frames against wire/PROTOCOL.md: by that page alone, every frame must decode to its JSON file, and
what stands in the JSON file must be written as that frame, byte for byte.

    python3 check_golden.py [FOLDER]           ends non-zero and says what is wrong

It also computes the page's test values, and makes sure that damaged frames are refused and never crash the decoder.
Works with Python 3.8 and later, standard library only.
"""

import glob
import hashlib
import hmac
import json
import os
import re
import struct
import sys

sys.dont_write_bytecode = True  # a check leaves nothing behind

from heddle_decode import FrameError, Page, decode, digest_share, handle, routing_key
from heddle_encode import encode

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "..", "tests", "golden")


def first_difference(expected, found, place="frame"):
    """Where two JSON values differ, as a line of text; None where they do not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if list(sorted(expected)) != list(sorted(found)):
            return "%s: fields %s expected, %s found" % (place, sorted(expected), sorted(found))
        parts = ((key, "%s.%s" % (place, key)) for key in expected)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return "%s: %d items expected, %d found" % (place, len(expected), len(found))
        parts = ((index, "%s[%d]" % (place, index)) for index in range(len(expected)))
    else:
        same = type(expected) is type(found) and expected == found
        return None if same else "%s: %r expected, %r found" % (place, expected, found)
    for key, inner in parts:
        difference = first_difference(expected[key], found[key], inner)
        if difference:
            return difference
    return None


def check_frames(page, folder):
    faults = []
    frames = sorted(glob.glob(os.path.join(folder, "*.bin")))
    if not frames:
        return ["no golden frames in %s" % folder], 0, set()
    seen = set()
    for path in frames:
        name = os.path.basename(path)
        with open(path, "rb") as file:
            data = file.read()
        try:
            with open(path[:-len(".bin")] + ".json", encoding="utf-8") as file:
                expected = json.load(file)
            found = decode(page, data)
            written = encode(page, expected)
        except (FrameError, OSError, ValueError, KeyError) as error:
            faults.append("%s: %s" % (name, error))
            continue
        difference = first_difference(expected, found)
        if difference:
            faults.append("%s: %s" % (name, difference))
        if written != data:
            at = next((at for at, pair in enumerate(zip(written, data)) if pair[0] != pair[1]), None)
            faults.append("%s: written from its JSON file it differs at %s" % (name, at))
        seen.add(found["record"])
        faults.extend("%s: %s" % (name, fault) for fault in check_damaged(page, data))
    return faults, len(frames), seen


def check_damaged(page, data):
    """A damaged frame decodes to something or is refused; nothing else may happen."""
    damaged = [data[:size] for size in range(len(data))]
    damaged += [data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:] for at in range(len(data))]
    for number, piece in enumerate(damaged):
        try:
            decode(page, piece)
        except FrameError:
            continue
        except Exception as error:  # noqa: BLE001 - what the check is looking for
            return ["damaged copy %d: %r" % (number, error)]
        if number < len(data):
            return ["cut to %d of %d bytes, it still decodes" % (number, len(data))]
    return []


def check_values(page):
    """The page's test values, computed from its description."""
    faults = []

    def compare(what, expected, found):
        if expected != found:
            faults.append("%s: the page says %#x, its rule gives %#x" % (what, expected, found))

    def hexadecimal(cell):
        return int(cell.strip("`"), 16)

    for node_id, key in page.rows("routing values"):
        compare("routing key of %s" % node_id, hexadecimal(key), routing_key(node_id.strip("`")))
    for shard, row, generation, expected in page.rows("handle values"):
        found = handle(int(shard), int(row), int(generation))
        compare("handle of row %s" % row, hexadecimal(expected), found)
    total = 0
    rows = page.rows("digest values")
    for row in rows:
        share = digest_share(*(int(cell) for cell in row[:4]))
        compare("digest share of container %s" % row[3], hexadecimal(row[4]), share)
        total = (total + share) % 2 ** 64
    together = re.search(r"count (\d+), hash `(0x[0-9a-f]+)`", page.part("digest values"))
    if not together or int(together.group(1)) != len(rows):
        faults.append("digest: the page does not say what the shares are together")
    else:
        compare("digest of all", int(together.group(2), 16), total)

    for name, identifier, mac in page.rows("token values"):
        expected = bytes.fromhex(identifier.strip("`"))
        found = token_identifier(name)
        if expected != found:
            faults.append("identifier of %s: the page says %s, its rule gives %s" % (name, expected.hex(), found.hex()))
        signature = hmac.new(bytes(range(32)), expected, hashlib.sha256).hexdigest()
        if mac.strip("`") != signature:
            faults.append("signature of %s: the page says %s, it is %s" % (name, mac, signature))

    example = bytes.fromhex("".join(row[1].strip("`") for row in page.rows("example")))
    try:
        value = decode(page, example)["value"]
        if value != {"node_handle": handle(3, 70000, 5), "reason": "disk replaced"}:
            faults.append("the example holds %r" % value)
    except FrameError as error:
        faults.append("the example: %s" % error)
    return faults


def token_identifier(name):
    """Section 16: what is signed, for the values given there."""

    def text(value):
        return struct.pack("<I", len(value)) + value

    attempt = struct.pack("<QII", 1763625600000, 7, 1)
    node = text(b"node-0042.rack-17.example") + struct.pack("<H", 45454)
    user = text(b"ada")
    if name == "AMRMToken":
        return b"\x01" + attempt + struct.pack("<Q", handle(2, 1234, 9))
    if name == "NMToken":
        return b"\x03" + attempt + node + user
    resource = struct.pack("<QII", 4096, 2, 1) + text(b"yarn.io/gpu") + struct.pack("<Q", 8) + text(b"")
    ask = struct.pack("<iqIB", 10, -1, 0, 1)
    expiry = struct.pack("<Q", 1763626200000)
    return b"\x02" + attempt + struct.pack("<Q", 2) + node + resource + ask + user + expiry


def main(arguments):
    folder = arguments[0] if arguments else GOLDEN
    try:
        page = Page.load()
    except (FrameError, OSError, KeyError, ValueError) as error:
        print("PROTOCOL.md cannot be read: %s" % error, file=sys.stderr)
        return 1
    faults, count, seen = check_frames(page, folder)
    faults += check_values(page)
    bodies = {name + kind for name, _ in page.opcodes.values() for kind in ("Request", "Response")} | {"Reject"}
    bodies &= set(page.records)
    faults += ["%s has no golden frame" % name for name in sorted(bodies - seen)]
    for fault in faults:
        print("FAULT %s" % fault, file=sys.stderr)
    print("%d golden frames of %d records against PROTOCOL.md: %s" % (
        count, len(seen), "%d faults" % len(faults) if faults else "all as described"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
