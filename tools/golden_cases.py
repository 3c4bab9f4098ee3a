"""What tools/record_golden.py asks of Celery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import chain, chord, group

from tools.golden_app import add, echo

# Python values stand here as source text, see tests/wire/golden.py.

VALUES: Final = [
    "()",
    "(1, 2)",
    "('text', 'ünïcode', 'emoji \\U0001f600', 'quo\"te', \"apo'strophe\", 'back\\\\slash')",
    "('line\\nbreak\\ttab\\x00nul\\x7fdel\\u2028', '/')",
    "(True, False, None, 0, -1, 2**63, 2**64, -2**70, 10**40)",
    "(0.0, -0.0, 1.5, 1e16, 1e-5, 123456789.123456789, 1e300, 5e-324, 1e22, 0.1)",
    "(float('nan'), float('inf'), float('-inf'))",
    "(b'text', b'', b'\\xff\\x00\\x01', 'ü'.encode())",
    "(datetime(2026, 11, 22, 6, 54, 34, 147011), datetime(2026, 11, 22, 6, 54, 34, tzinfo=UTC))",
    "(datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=5, minutes=30))), date(2026, 11, 22), time(6, 54))",
    "(Decimal('1.10'), Decimal('NaN'), Decimal('1E+5'), UUID('12345678-1234-4234-8234-123456789abc'))",
    "([1, [2, [3, [4, [5]]]]], {'a': {'b': {'c': {'d': {'e': 1}}}}}, ((((1,),),),))",
    "({'a': 1, 'b': [1, 2], 'c': {}}, {1: 'int key', None: 'none', True: 'true', 1.5: 'float'})",
    "('\\ud800 lone surrogate',)",
    "(['x' * 600, 'y' * 600, 'z'],)",
    "('word ' * 300,)",
    "(list(range(500)),)",
    "({str(number): [number] * 3 for number in range(200)},)",
    "(b'b' * 2000, b'\\xff' * 1000, 'after')",
    "([[]], [{}], [()], {'': ''}, [[[]]], [[[[]]]], ())",
    "({'k' * 1100: 'v'},)",
    "('x' * 1010, 12345678901234567890, [1, 2, 3])",
    "('x' * 1017, [1, [2]], {'a': 1})",
    "('x' * 1019, [1, [2]], {'a': 1})",
    "('x' * 1020, None, True)",
]
REPRS: Final = [
    *VALUES,
    "({1}, set(), frozenset(), frozenset({1}), {frozenset({1}): {2}})",
    "(range(3), complex(1, 2), 1j, object, int, Ellipsis, bytearray(b'x'), slice(1))",
    "[[1], (1,), {1: 2}]",
    "{'a': (1,), 2: [1], (1, 2): {3}}",
    "'only text'",
    "b'only bytes'",
    "12",
    "None",
    "{('a', ('b', ('c', ('d', 1)))): 1}",
    "[['x' * 1000, ['y' * 10, ['z' * 10, 'w' * 10]], 'end'], 'end']",
    "[{'x' * 1000: ['y' * 10, 'z' * 20], 'k': 1}, 'end']",
    "['a b c ' * 200]",
    "[Decimal('1.' + '1' * 2000)]",
]

# One call each: `args`, `kwargs` and `options` of `apply_async`, or of `send_task` when `send` names a task.
CALLS: Final[list[dict[str, Any]]] = [
    *({"name": f"values {index}", "args": source} for index, source in enumerate(VALUES)),
    {"name": "kwargs", "args": "()", "kwargs": "{'x': 1, 'y': {'deep': [1, (2, 3)]}, 'when': date(2026, 1, 2)}"},
    {"name": "send_task", "args": "(1,)", "kwargs": "{'k': 'v'}", "send": "elsewhere.unknown_task"},
    {"name": "send_task ignoring", "args": "(1,)", "options": "{'ignore_result': True}", "send": "elsewhere.other"},
    {"name": "ignore_result", "args": "(1, 2)", "options": "{'ignore_result': True}"},
    {"name": "countdown", "args": "(1, 2)", "options": "{'countdown': 3600}"},
    {"name": "countdown fraction", "args": "(1, 2)", "options": "{'countdown': 1.25}"},
    {"name": "eta", "args": "(1, 2)", "options": "{'eta': LATER}"},
    {"name": "eta whole second", "args": "(1, 2)", "options": "{'eta': LATER.replace(microsecond=0)}"},
    {"name": "eta past", "args": "(1, 2)", "options": "{'eta': PAST}"},
    {"name": "expires seconds", "args": "(1, 2)", "options": "{'expires': 60}"},
    {"name": "expires fraction", "args": "(1, 2)", "options": "{'expires': 0.7}"},
    {"name": "expires time", "args": "(1, 2)", "options": "{'expires': LATER}"},
    {"name": "expires past", "args": "(1, 2)", "options": "{'expires': PAST}"},
    {"name": "expires and countdown", "args": "(1, 2)", "options": "{'expires': 60, 'countdown': 30}"},
    {"name": "priority 0", "args": "(1, 2)", "options": "{'priority': 0}"},
    {"name": "priority 5", "args": "(1, 2)", "options": "{'priority': 5}"},
    {"name": "priority 9", "args": "(1, 2)", "options": "{'priority': 9}"},
    {"name": "time limits", "args": "(1, 2)", "options": "{'time_limit': 60, 'soft_time_limit': 50.5}"},
    {"name": "soft limit", "args": "(1, 2)", "options": "{'soft_time_limit': 50}"},
    {"name": "shadow", "args": "(1, 2)", "options": "{'shadow': 'shown.name'}"},
    {"name": "headers", "args": "(1, 2)", "options": "{'headers': {'tenant': 'ä', 'n': 1, 'deep': {'a': [1]}}}"},
    {"name": "headers tagged", "args": "(1,)", "options": "{'headers': {'at': LATER, 'raw': b'\\xff'}}"},
    {"name": "headers overriding", "args": "(1,)", "options": "{'headers': {'shadow': 'mine'}}"},
    {"name": "argsrepr", "args": "('secret',)", "options": "{'argsrepr': '(***)', 'kwargsrepr': '{***}'}"},
    {"name": "property", "args": "(1, 2)", "options": "{'app_id': 'shop', 'user_id': 'guest'}"},
    {"name": "reply_to", "args": "(1, 2)", "options": "{'reply_to': 'my-replies'}"},
    {"name": "transient", "args": "(1, 2)", "options": "{'delivery_mode': 1}"},
    {"name": "root and parent", "args": "(1, 2)", "options": "{'root_id': 'the-root', 'parent_id': 'the-parent'}"},
    {"name": "retries", "args": "(1, 2)", "options": "{'retries': 3}"},
    {"name": "nesting", "args": "(1, 2)", "options": "{'replaced_task_nesting': 2}"},
    {"name": "stamps", "args": "(1,)", "options": "{'stamped_headers': ['day'], 'day': 'monday'}"},
    {"name": "gzip", "args": "('text ' * 100,)", "options": "{'compression': 'gzip'}"},
    {"name": "zlib", "args": "('text ' * 100,)", "options": "{'compression': 'zlib'}"},
    {"name": "bzip2", "args": "('text ' * 100,)", "options": "{'compression': 'bzip2'}"},
    {"name": "lzma", "args": "('text ' * 100,)", "options": "{'compression': 'lzma'}"},
    {"name": "gzip and headers", "args": "(1,)", "options": "{'compression': 'gzip', 'headers': {'z': 1}}"},
    {"name": "queue", "args": "(1, 2)", "options": "{'queue': 'mail'}"},
    {"name": "group member", "args": "(1, 2)", "options": "{'group_id': 'the-group', 'group_index': 3}"},
    {"name": "link", "args": "(1, 2)", "options": "{'link': add.s(3), 'link_error': echo.si('bad')}"},
    {"name": "links", "args": "(1, 2)", "options": "{'link': [add.s(3), echo.s().set(queue='mail', countdown=5)]}"},
]

CANVASES: Final[dict[str, Callable[[], Any]]] = {
    "chain": lambda: chain(add.s(1, 2), add.s(3), add.s(4)),
    "chain with link": lambda: chain(add.s(1, 2), add.s(3).on_error(echo.s())),
    "group": lambda: group(add.s(1, 2), add.s(3, 4)),
    "chord": lambda: chord([add.s(1, 2), add.s(3, 4)], echo.s()),
    "chain into group": lambda: chain(add.s(1, 2), group(add.s(3), add.s(4))),
    "chain into chord": lambda: chain(add.s(1, 2), group(add.s(3), add.s(4)), echo.s(), echo.si()),
    "map": lambda: add.map([1, 2]),
    "starmap": lambda: add.starmap([(1, 2), (3, 4)]),
    "chunks": lambda: add.chunks([(1, 2), (3, 4)], 1),
}

# What a worker is given, and how it ends; `last` is the state after which nothing follows, if that is no ready state.
ENDINGS: Final[dict[str, dict[str, Any]]] = {
    **{
        f"success {source}": {"task": "shop.give", "args": (source,)}
        for source in (
            "3",
            "None",
            "'text ü'",
            "[1, (2, 3), {'a': b'x'}]",
            "{'at': datetime(2026, 1, 2, tzinfo=UTC), 'd': Decimal('1.5')}",
            "float('nan')",
            "{1, 2}",
        )
    },
    **{
        f"failure {source}": {"task": "shop.fail", "args": (source,)}
        for source in (
            "ValueError('bad', 3)",
            "ShopError(7, 'custom')",
            "ShopError.Nested('deep')",
            "KeyError('key')",
            "ValueError(object, {1})",
            "UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')",
            "ExceptionGroup('many', [ValueError(1)])",
            "OSError(2, 'No such file', 'x')",
            "SoftTimeLimitExceeded()",
            "TaskRevokedError('x')",
            "type('Local', (Exception,), {})('made at run time')",
            "SystemExit(3)",
        )
    },
    "unregistered": {"task": "shop.unknown", "args": ()},
    "hard limit": {"task": "shop.slow", "args": ()},
    "soft limit": {"task": "shop.soft", "args": ()},
    "worker lost": {"task": "shop.crash", "args": ()},
    "revoked": {"task": "shop.add", "args": (1, 2), "options": {"countdown": 2}, "revoke": True},
    "terminated": {"task": "shop.wait", "args": (), "terminate": True},
    "expired": {"task": "shop.add", "args": (1, 2), "options": {"expires": 0.5, "countdown": 2}},
    "retry": {"task": "shop.retry", "args": ("parked", 1, 2), "last": "RETRY"},
    "retry with parent": {
        "task": "shop.retry",
        "args": ("parked",),
        "options": {"parent_id": "the-parent", "root_id": "the-root", "expires": 7200, "priority": 3},
        "last": "RETRY",
    },
    "retry compressed": {
        "task": "shop.retry",
        "args": ("parked", "x" * 50),
        "options": {"compression": "gzip", "headers": {"tenant": "a"}, "time_limit": 60},
        "last": "RETRY",
    },
    "retries used up": {"task": "shop.retry_out", "args": ()},
    "progress": {"task": "shop.progress", "args": ()},
    "children": {"task": "shop.parent", "args": ("parked",)},
    "group member": {"task": "shop.add", "args": (1, 2), "options": {"group_id": "the-group", "group_index": 1}},
    "with parent": {"task": "shop.add", "args": (1, 2), "options": {"parent_id": "the-parent", "root_id": "the-root"}},
    "linked": {
        "task": "shop.add",
        "args": (1, 2),
        "options": {"link": add.s(5).set(queue="parked", task_id="linked-1")},
    },
    "stamped": {"task": "shop.add", "args": (1, 2), "options": {"stamped_headers": ["day"], "day": "monday"}},
}
