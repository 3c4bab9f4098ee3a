"""A relay before a server: while it is frozen nothing goes through, and nobody is told, as with a cable that was cut."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Relay:
    """Takes connections on a port of its own and passes everything on, both ways, in one thread."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.frozen = threading.Event()
        self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection."""
        self._stopped = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _run(self) -> None:
        while not self._stopped:
            if self.frozen.is_set():
                self._selector.select(0)
                threading.Event().wait(0.01)
                continue
            for key, _ in self._selector.select(0.02):
                if key.data is None:
                    self._connect()
                else:
                    self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _connect(self) -> None:
        client, _ = self._listening.accept()
        server = socket.create_connection(self._server)
        self._selector.register(client, selectors.EVENT_READ, server)
        self._selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65_536)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass  # one side is gone: so is the other
        for side in (source, target):
            with contextlib.suppress(KeyError, ValueError):  # it may be closed already
                self._selector.unregister(side)
            side.close()
