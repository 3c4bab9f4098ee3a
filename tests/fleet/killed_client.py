"""A program that asks workers over and over, each time as a new program does, and then waits for replies: until it is killed.

python -m tests.fleet.killed_client NODE APPS REQUESTS
"""

from __future__ import annotations

import sys
import threading

from celeriac import Celeriac


def main(node: str, apps: int, requests: int) -> None:
    asking = [Celeriac("client", set_as_current=False) for _ in range(apps)]
    for app in asking:
        for number in range(requests):
            if number % 2:
                app.control.ping(destination=[node], timeout=30)
            else:
                app.control.inspect(destination=[node], timeout=30).stats()
        watching = threading.Thread(target=app.events.Receiver(handlers={"*": print}).capture, daemon=True)
        watching.start()
    print("asked", flush=True)
    while True:
        for app in asking:
            app.control.broadcast("ping", reply=True, timeout=0.2)  # nobody reads what comes later


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
