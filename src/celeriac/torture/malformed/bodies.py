"""Bodies that are no task's, or are made to break who opens them."""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from celeriac.torture.malformed.case import ENDED, Case, Raw, Target
from celeriac.torture.places import REDIS

MEBIBYTE: Final = 1024 * 1024
PICKLE: Final = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."
"""Runs `id` where it is read."""
LAUGHS: Final = b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b",".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 12)
)


def bodies(target: Target, *, heavy: bool) -> Iterator[Case]:
    """Yield every body that must be parked or, where it says so, may run."""
    for name, body in _no_bodies(target).items():
        yield Case(f"body: {name}", Raw(body, target.headers()))
    for name, argument in (("lone surrogate", "\ud800"), ("not a number", float("nan")), ("infinity", float("inf"))):
        body = json.dumps(
            [[target.mark + argument, 0] if isinstance(argument, str) else [target.mark + name, argument], {}, {}]
        ).encode()
        if argument != float("inf"):  # which would sleep for ever
            yield Case(f"body: {name}", Raw(body, target.headers()), end=ENDED)
    for name, tagged in _tags().items():
        body = json.dumps([[target.mark + name, tagged], {}, {}]).encode()
        yield Case(f"body: {name}", Raw(body, target.headers()))
    yield Case("body: 8 MB", Raw(target.body("8 MB", "x" * 8 * MEBIBYTE), target.headers()))
    if heavy:
        # RabbitMQ has a limit of its own (max_message_size) and hands over whatever it took; a SQLite file is its owner's.
        yield Case("body: 32 MB", Raw(target.body("32 MB", "x" * 32 * MEBIBYTE), target.headers()), places=(REDIS,))
    yield from _contents(target, heavy)


def _no_bodies(target: Target) -> dict[str, bytes]:
    def with_embed(embed: Any) -> bytes:
        return json.dumps([[target.mark + "embed", 0], {}, embed]).encode()

    signature = {"task": target.task, "args": [], "kwargs": {}, "options": {}}
    return {
        "not JSON": b"{nonsense",
        "empty": b"",
        "null": b"null",
        "number": b"17",
        "text": b'"text"',
        "list of one": b"[[]]",
        "list of four": b"[[], {}, {}, {}]",
        "protocol of the future": b'{"version": 3, "args": [], "kwargs": {}}',
        "args text": b'["ab", {}, {}]',
        "args number": b"[1, {}, {}]",
        "args null": b"[null, {}, {}]",
        "kwargs list": b'[["a", 0], ["x"], {}]',
        "kwargs null": b'[["a", 0], null, {}]',
        "embed text": with_embed("x"),
        "embed list": with_embed([1]),
        "callbacks text": with_embed({"callbacks": "x"}),
        "callbacks of nothing": with_embed({"callbacks": [1, None]}),
        "errbacks without task": with_embed({"errbacks": [{"args": []}]}),
        "callback's args a number": with_embed({"callbacks": [{**signature, "args": 1}]}),
        "callback's options a list": with_embed({"callbacks": [{**signature, "options": [1]}]}),
        "chain junk": with_embed({"chain": 17}),
        "chain of lists": with_embed({"chain": [[[1]]]}),
        "chord junk": with_embed({"chord": "x"}),
        "chord without task": with_embed({"chord": {"task": None}}),
        "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "deep and cut off": b"[" * 500_000,
        "bad UTF-8": b'[["\xff\xfe", 0], {}, {}]',
        "UTF-16": '[["a", 0], {}, {}]'.encode("utf-16"),
        "long integer": b'[["a", ' + b"9" * 20_000 + b"], {}, {}]",
        "too few arguments": b"[[], {}, {}]",
        "too many arguments": target.body("too many", 0, 1, 2),
        "unknown keyword": target.body("unknown keyword", nonsense=1),
        "class keyword": json.dumps([[target.mark + "class keyword", 0], {"__class__": 1}, {}]).encode(),
        "many lists": b"[" + b"[]," * (MEBIBYTE // 3 - 10) + b"[]]",
    }


def _tags() -> dict[str, Any]:
    return {
        "unknown tag": {"__type__": "os.system", "__value__": "id"},
        "tag of a class": {"__type__": "subprocess:Popen", "__value__": ["id"]},
        "tag is a list": {"__type__": [], "__value__": 1},
        "bad datetime": {"__type__": "datetime", "__value__": "tomorrow"},
        "bad decimal": {"__type__": "decimal", "__value__": [0, [1], {}]},
        "bad uuid": {"__type__": "uuid", "__value__": {"hex": "xyz"}},
        "bad base64": {"__type__": "base64", "__value__": "A"},
    }


def _contents(target: Target, heavy: bool) -> Iterator[Case]:
    def case(name: str, body: bytes, content_type: str | None, encoding: str | None = "utf-8", **changes: Any) -> Case:
        return Case(f"content: {name}", Raw(body, target.headers(**changes), {}, content_type, encoding))

    yield case("pickle", PICKLE, "application/x-python-serialize", "binary")
    yield case("pickle that says it is JSON", PICKLE, "application/json", "binary")
    yield case("YAML", b"!!python/object/apply:os.system ['id']", "application/x-yaml")
    yield case("YAML of a billion laughs", LAUGHS, "application/x-yaml")
    yield case("MessagePack", b"\x93\x90\x80\x80", "application/x-msgpack", "binary")
    good = target.body("compressed")
    yield case("unknown type", target.body("unknown type"), "application/x-nonsense")
    yield case("type of 255 characters", target.body("long type"), "x/" + "y" * 253)
    yield case("no type", b"\x00\x01", None)
    yield case("unknown encoding", target.body("unknown encoding"), "application/json", "klingon")
    yield case("signed by nobody", target.body("signed"), "application/data")
    yield case(
        "signed by HMAC with no key",
        b"celeriac-hmac-1 " + b"0" * 16 + b" a b " + b"0" * 64 + b"\n" + good,
        "application/x-celeriac-hmac",
    )
    yield case(
        "unknown compression",
        target.body("unknown compression"),
        "application/json",
        compression="application/x-nonsense",
    )
    yield case("compression a number", target.body("compression 7"), "application/json", compression=7)
    yield case(
        "compression that is none",
        target.body("compression that is none"),
        "application/json",
        compression="application/x-gzip",
    )
    yield case("cut off zlib", zlib.compress(good * 100)[:-9], "application/json", compression="application/x-gzip")
    for name, mime, data in _bombs(300 if heavy else 24):
        yield case(f"bomb of {name}", data, "application/json", compression=mime)
    yield case("bomb of lists", _lists(), "application/json", compression="application/x-gzip")


@cache
def _bombs(mebibytes: int) -> list[tuple[str, str, bytes]]:
    """Return so much of one letter, in each method that the standard library has, and in those that are installed."""
    chunk = b"a" * MEBIBYTE

    def squeezed(compressor: Any, end: str = "flush") -> bytes:
        parts = [compressor.compress(b'[["')]
        parts += [compressor.compress(chunk) for _ in range(mebibytes)]
        return b"".join([*parts, compressor.compress(b'", 0], {}, {}]'), getattr(compressor, end)()])

    found = [
        ("zlib", "application/x-gzip", squeezed(zlib.compressobj(9))),
        ("bzip2", "application/x-bz2", squeezed(bz2.BZ2Compressor(1))),
        ("lzma", "application/x-lzma", squeezed(lzma.LZMACompressor(preset=0))),
    ]
    try:
        import zstandard

        found.append(("zstd", "application/zstd", squeezed(zstandard.ZstdCompressor(level=1).compressobj())))
    except ImportError:
        pass
    try:
        import brotli
    except ImportError:
        return found
    compressor = brotli.Compressor(quality=1)
    parts = [
        compressor.process(b'[["'),
        *(compressor.process(chunk) for _ in range(mebibytes)),
        compressor.finish(),
    ]
    found.append(("brotli", "application/x-brotli", b"".join(parts)))
    return found


@cache
def _lists() -> bytes:
    """Return five million empty lists: 15 MiB of JSON, but many times that once they are read."""
    return zlib.compress(b"[[" + b"[]," * (15 * MEBIBYTE // 3) + b"[]], {}, {}]", 1)
