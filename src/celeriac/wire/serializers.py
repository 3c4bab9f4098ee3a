"""Values to bytes and back, by the serializers' names and content types."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from celeriac.exceptions import CeleriacError, ContentDisallowed, DecodeError, EncodeError, SoftTimeLimitExceeded
from celeriac.wire import json_text, msgpack, pickled, signing, yaml_text
from celeriac.wire.compression import compress, decompress
from celeriac.wire.signing import Keys, Subject

__all__ = [
    "Encoded",
    "compress",
    "content_of",
    "content_type_of",
    "decompress",
    "dumps",
    "is_accepted",
    "loads",
    "name_of",
    "names",
    "register",
    "unregister",
]


class Encoded(NamedTuple):
    """Bytes, and the two words that say how to read them."""

    content_type: str
    content_encoding: str
    data: bytes


class _Serializer(NamedTuple):
    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None


_BUILT_IN: Final = (
    _Serializer("json", "application/json", "utf-8", json_text.dumps, json_text.loads),
    _Serializer("msgpack", "application/x-msgpack", "binary", msgpack.dumps, msgpack.loads),
    _Serializer("yaml", "application/x-yaml", "utf-8", yaml_text.dumps, yaml_text.loads),
    _Serializer("pickle", "application/x-python-serialize", "binary", pickled.dumps, pickled.loads),
)
PLAIN: Final = frozenset({"application/json", "application/x-msgpack", "application/x-yaml"})
"""Content types that hold data and nothing else: to read them runs no code of the sender's choice."""
_BY_NAME: Final = {serializer.name: serializer for serializer in _BUILT_IN}
_BY_TYPE: Final = {serializer.content_type: serializer for serializer in _BUILT_IN}
_SIGNED: Final = {
    signing.X509: signing.X509_TYPE,
    signing.HMAC: signing.HMAC_TYPE,
    signing.SEALED: signing.SEALED_TYPE,
}
_ENCODINGS: Final = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii", "binary"})
"""Encodings under which bytes are read as they are; JSON is always UTF-8, of which ASCII is a part."""


def names() -> list[str]:
    """Return the names of all serializers."""
    return [*_BY_NAME, *_SIGNED]


def content_type_of(serializer: str) -> str | None:
    """Return the content type that a serializer writes, by its name or content type; None for an unknown one."""
    found = _BY_NAME.get(serializer) or _BY_TYPE.get(serializer)
    if found is not None:
        return found.content_type
    return _SIGNED.get(serializer) or (serializer if serializer in _SIGNED.values() else None)


def name_of(serializer: str) -> str:
    """Return the name of a serializer by its name or content type; an unknown one as it is."""
    found = _BY_TYPE.get(serializer)
    return serializer if found is None else found.name


def content_of(serializer: str) -> tuple[str, str]:
    """Return content type and content encoding of what a serializer writes. Raises `EncodeError` for an unknown one."""
    content_type = content_type_of(serializer)
    if content_type is None:
        raise EncodeError(unknown(serializer))
    found = _BY_TYPE.get(content_type)
    if found is not None:
        return content_type, found.content_encoding
    return content_type, "utf-8" if content_type == signing.X509_TYPE else "binary"


def is_wrapping(serializer: str) -> bool:
    """Tell whether a serializer, by name or content type, signs or seals what another one has written."""
    return serializer in _SIGNED or serializer in _SIGNED.values()


def is_accepted(serializer: str, accept: Collection[str]) -> bool:
    """Tell whether `accept` allows what this serializer writes, by name or content type; false for an unknown one."""
    content_type = content_type_of(serializer)
    return content_type is not None and any(content_type_of(word) == content_type for word in accept)


def unknown(serializer: str) -> str:
    """Return the text about a serializer that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(serializer, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names())}"
    return f"unknown serializer {serializer!r}: {hint}"


def register(
    name: str,
    encoder: Callable[[Any], bytes | str] | None,
    decoder: Callable[[bytes], Any] | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer to all apps of this process; one of a built-in name or content type stands before the built-in one.

    Without `encoder` it can be read only, without `decoder` written only.  Raises `ValueError` for the names of signed ones.
    """
    if name in _SIGNED or content_type in _SIGNED.values():
        raise ValueError(f"serializer {name!r}: the names {', '.join(_SIGNED)} and their content types are taken")
    unregister_quietly(name)
    made = _Serializer(
        name,
        content_type,
        content_encoding,
        None if encoder is None else _writer(name, encoder),
        None if decoder is None else _reader(name, decoder, content_encoding),
    )
    _BY_NAME[name] = made
    _BY_TYPE[content_type] = made


def unregister(name: str) -> None:
    """Take a serializer away; a built-in one that it stood before is there again. Raises `KeyError` for an unknown name."""
    if name not in _BY_NAME:
        raise KeyError(name)
    unregister_quietly(name)


def unregister_quietly(name: str) -> None:
    """As `unregister`, without an error."""
    gone = _BY_NAME.pop(name, None)
    if gone is not None:
        _BY_TYPE.pop(gone.content_type, None)
    for serializer in _BUILT_IN:
        if gone is not None and (serializer.name == name or serializer.content_type == gone.content_type):
            _BY_NAME.setdefault(serializer.name, serializer)
            _BY_TYPE.setdefault(serializer.content_type, serializer)


def dumps(value: Any, serializer: str, keys: Keys | None = None, subject: Subject = signing.NOBODY) -> Encoded:
    """Write `value` by the serializer of that name or content type.

    `keys` sign for the serializers `auth` and `hmac` and seal for `sealed`, the latter two for this `subject` alone.  Raises `EncodeError` for an unknown
    serializer or a value that it cannot write.
    """
    found = _BY_NAME.get(serializer) or _BY_TYPE.get(serializer)
    if found is not None:
        if found.dumps is None:
            raise EncodeError(f"serializer {serializer!r} can only be read: it was registered without an encoder")
        return Encoded(found.content_type, found.content_encoding, found.dumps(value))
    if is_wrapping(serializer):
        if keys is None:
            raise EncodeError(f"serializer {serializer!r} needs keys to sign or seal with")
        inner = dumps(value, keys.inner)
        return Encoded(*signing.sign(serializer, keys, subject, *inner))
    raise EncodeError(unknown(serializer))


def loads(
    data: bytes,
    content_type: str,
    content_encoding: str,
    accept: Collection[str],
    keys: Keys | None = None,
    subject: Subject = signing.NOBODY,
) -> Any:
    """Read a value of a content type that `accept` allows by its serializer's name or as MIME type.

    Signed data are verified by `keys` before anything is read.  Raises `ContentDisallowed`, `SecurityError` for a signature that
    does not hold, and `DecodeError` for data that are not what they claim to be.
    """
    found = _BY_TYPE.get(content_type)
    if found is not None:
        if content_type not in accept and found.name not in accept:
            raise _disallowed(content_type, accept)
    elif content_type in _SIGNED.values():
        if not is_accepted(content_type, accept):
            raise _disallowed(content_type, accept)
        if keys is None:
            raise DecodeError(f"content type {content_type!r} needs keys to verify or open it with")
        inner = Encoded(*signing.verify(content_type, keys, subject, data))
        return _read_inner(inner, accept, keys.inner)
    elif content_type not in accept:
        raise _disallowed(content_type, accept)
    if found is None or found.loads is None:
        raise DecodeError(f"content type {content_type!r:.80} is accepted, but there is no serializer for it")
    if (content_encoding or "").lower() not in _ENCODINGS:
        raise DecodeError(f"unknown content encoding {content_encoding!r:.80}")
    return found.loads(data)


def _read_inner(inner: Encoded, accept: Iterable[str], own: str) -> Any:
    """Read what was signed: plain data always, anything else only where it is accepted by itself or signed here, too."""
    own_type = content_type_of(own)
    allowed = {*PLAIN, *accept, *([own_type] if own_type else [])}
    allowed -= {*_SIGNED, *_SIGNED.values()}  # signed once is signed
    return loads(inner.data, inner.content_type, inner.content_encoding, allowed)


def exceeds_containers(data: bytes, content_type: str, limit: int) -> bool:
    """Tell whether a body has more lists and objects than `limit`, before anything of it is built; its cost is linear.

    Of YAML, which counts for itself, and of content types that are not our own it says nothing.
    """
    if content_type == "application/x-msgpack":
        return msgpack.exceeds_containers(data, limit)
    return content_type in ("application/json", signing.HMAC_TYPE) and json_text.exceeds_containers(data, limit)


def _disallowed(content_type: str, accept: Iterable[str]) -> ContentDisallowed:
    shown = ", ".join(accept) or "nothing"
    return ContentDisallowed(f"content type {content_type!r:.80} is not accepted; accept_content allows: {shown:.200}")


def _writer(name: str, encoder: Callable[[Any], bytes | str]) -> Callable[[Any], bytes]:
    def dumps(value: Any) -> bytes:
        try:
            data = encoder(value)
            return data.encode() if isinstance(data, str) else bytes(data)
        except (CeleriacError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # the encoder is the user's
            raise EncodeError(f"serializer {name!r}: {type(error).__name__}: {error}") from error

    return dumps


def _reader(name: str, decoder: Callable[[bytes], Any], encoding: str) -> Callable[[bytes], Any]:
    def loads(data: bytes) -> Any:
        try:
            return decoder(data)
        except (CeleriacError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # the decoder is the user's
            raise DecodeError(f"serializer {name!r}: {type(error).__name__}: {error}") from error

    return loads
