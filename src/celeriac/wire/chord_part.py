"""What a chord's store keeps: the parts that its members leave there, and the signature of its body.

A part is Celery's document `[1, task id, state, result]`, with an exception written as in a result; Celery's workers read ours and the
other way round.  The body's signature is kept for ourselves.
"""

from __future__ import annotations

from typing import Any, Final

from celeriac.core import states
from celeriac.core.workflow import EndedMember
from celeriac.exceptions import DecodeError
from celeriac.wire import remote_error, serializers, signing
from celeriac.wire.result_meta import PLAIN, ResultFormat, error_to_wire, load
from celeriac.wire.signing import Keys, Subject

Signature = dict[str, Any]

_VERSION: Final = 1
_SUBJECT: Final = Subject(signing.RESULT, "", "")


def encode(member: EndedMember, form: ResultFormat = PLAIN) -> bytes:
    """Write a part. Raises `EncodeError` when the result is no plain data."""
    result = error_to_wire(member.result, form) if isinstance(member.result, BaseException) else member.result
    return serializers.dumps([_VERSION, member.id, member.state, result], form.serializer, form.keys, _SUBJECT).data


def decode(payload: bytes, form: ResultFormat = PLAIN) -> EndedMember:
    """Read a part. Raises `DecodeError` for what is none, `ContentDisallowed` for one that is not accepted."""
    document = load(payload, form)
    if not (isinstance(document, list | tuple) and len(document) == 4):
        raise DecodeError("no part of a chord: it is not a list of four")
    _version, member_id, state, result = document
    if not (isinstance(member_id, str) and isinstance(state, str)):
        raise DecodeError("no part of a chord: its id and its state are no texts")
    if state in states.EXCEPTION_STATES:
        result = remote_error.from_wire(result)
    return EndedMember(member_id, state, result)


def encode_body(signature: Signature, serializer: str, keys: Keys | None = None) -> bytes:
    """Write the signature of a chord's body, in the serializer (a content type will do) of its members' messages."""
    content_type, encoding, data = serializers.dumps(signature, serializer, keys, _SUBJECT)
    return b"\n".join((content_type.encode(), encoding.encode(), data))


def decode_body(written: bytes, accept: tuple[str, ...], keys: Keys | None = None) -> Signature:
    """Read the signature of a chord's body. Raises `DecodeError`, `ContentDisallowed`."""
    content_type, found, rest = written.partition(b"\n")
    encoding, found_too, data = rest.partition(b"\n")
    if not (found and found_too):
        raise DecodeError("no body of a chord: its form is missing")
    signature = serializers.loads(
        data, content_type.decode("ascii", "replace"), encoding.decode("ascii", "replace"), accept, keys, _SUBJECT
    )
    if not (isinstance(signature, dict) and isinstance(signature.get("task"), str)):
        raise DecodeError("no body of a chord: it is no signature")
    return signature
