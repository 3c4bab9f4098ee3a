"""What a worker asks the others as it starts: which tasks are revoked, for Celery's workers know what no broker keeps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any, Final

from celeriac.client.lamport import LamportClock
from celeriac.core.addresses import control_address, reply_address, reply_mailbox
from celeriac.core.urls import mask
from celeriac.exceptions import BadMessage, CeleriacError
from celeriac.wire.control import ReplyTo, Request, decode_reply, encode_request

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.worker.revoker import Revoker

logger = logging.getLogger("celeriac.worker")

WAIT_S: Final = 2.0
"""How long replies are taken in."""
EXPIRES_S: Final = 10.0


async def mingle(app: Celeriac, hostname: str, clock: LamportClock, revoker: Revoker) -> None:
    """Ask all workers, and take in what they say for a moment; what fails is logged, for it is a courtesy."""
    settings = app.settings
    messenger = app.broker.messenger()
    oid = str(uuid.uuid4())
    request = Request(
        "hello",
        # Celery's workers read no more than the first two.
        {"from_node": hostname, "revoked": revoker.ids(), "reads_broker": True},
        ticket=str(uuid.uuid4()),
        reply_to=ReplyTo(reply_address(settings).exchange, oid),
        clock=clock.forward(),
        expires=app.time_source.time() + EXPIRES_S,
    )
    address = control_address(settings)
    try:
        await messenger.open([reply_mailbox(settings, oid)])
        await messenger.send(address, [encode_request(request, address, settings.control_max_bytes)])
        async with asyncio.timeout(WAIT_S):
            while True:
                for letter in await messenger.receive():
                    with contextlib.suppress(BadMessage):
                        _take(decode_reply(letter, settings.control_max_bytes).payload, clock, revoker)
    except TimeoutError:
        return
    except CeleriacError as error:
        logger.info("the other workers could not be asked what is revoked: %s", mask(str(error)))
    except Exception:  # a defect, but no reason to stop a worker
        logger.exception("the other workers could not be asked what is revoked")
    finally:
        await messenger.close()


def _take(payload: Any, clock: LamportClock, revoker: Revoker) -> None:
    if not isinstance(payload, dict):
        return
    if isinstance(told := payload.get("clock"), int):
        clock.adjust(told)
    # Celery 5.7 sends a list of ids, 5.6 a dict of them.
    if isinstance(revoked := payload.get("revoked"), list | dict):
        revoker.told(one for one in revoked if isinstance(one, str))
