"""A door to an Erlang node: what stands before it is evaluated inside, at once, where rabbitmqctl starts an Erlang of its own."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from pathlib import Path

from celeriac.torture.servers.service import ServiceError, free_port

OPEN_DEADLINE_S = 30.0
ANSWER_DEADLINE_S = 60.0

SCRIPT = """
spawn(fun() ->
    {ok, Listener} = gen_tcp:listen(PORT,
        [binary, {ip, ADDRESS}, {packet, 4}, {active, false}, {reuseaddr, true}, {backlog, 100}]),
    Answer = fun(Caller) ->
        {ok, <<SECRET, Text/binary>>} = gen_tcp:recv(Caller, 0),
        Said = try
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            {value, Value, _} = erl_eval:exprs(Expressions, []),
            ["ok ", case Value of <<_/binary>> -> Value; _ -> io_lib:format("~0tp", [Value]) end]
        catch
            Class:Reason -> io_lib:format("~0tp ~0tp", [Class, Reason])
        end,
        gen_tcp:send(Caller, unicode:characters_to_binary(Said)),
        gen_tcp:close(Caller)
    end,
    Serve = fun Serve() ->
        {ok, Caller} = gen_tcp:accept(Listener),
        spawn(fun() -> Answer(Caller) end),
        Serve()
    end,
    Serve()
end).
"""
"""Each caller sends the secret and expressions, and gets their value; lengths of four bytes go before both."""


def erlang_address(host: str) -> str:
    """Write an address as Erlang does."""
    return f"{{{host.replace('.', ',')}}}"


class ErlangDoor:
    """A door of one node: a port of this machine alone, for those who know a secret."""

    def __init__(self, directory: Path, host: str) -> None:
        """`directory`: the working directory of the node, `host`: its address, where the door is, too."""
        self._host = host
        self._port = free_port()
        self._secret = secrets.token_hex(16)
        script = (
            SCRIPT.replace("PORT", str(self._port))
            .replace("ADDRESS", erlang_address(host))
            .replace("SECRET", f'"{self._secret}"')
        )
        (directory / "door").write_text(script)

    @property
    def arguments(self) -> str:
        """What the node's command line needs, to open the door once all else is started."""
        return '-eval file:script("door")'

    def ask(self, expressions: str) -> str:
        """Evaluate Erlang expressions in the node and return what the last one gave, a binary as it is, else as printed. Blocking.

        Raises ServiceError when they fail, and when the node does not answer.
        """
        text = f"{self._secret}{expressions}".encode()
        try:
            with self._knock() as connection, connection.makefile("rb") as answer:
                connection.sendall(struct.pack(">I", len(text)) + text)
                (length,) = struct.unpack(">I", answer.read(4))
                verdict, _, value = answer.read(length).decode().partition(" ")
        except (OSError, struct.error) as error:
            raise ServiceError(f"the Erlang node does not answer: {error!r}") from None
        if verdict != "ok":
            raise ServiceError(f"{expressions.strip()} failed: {verdict} {value}")
        return value

    def _knock(self) -> socket.socket:
        end = time.monotonic() + OPEN_DEADLINE_S
        while True:
            try:
                return socket.create_connection((self._host, self._port), timeout=ANSWER_DEADLINE_S)
            except ConnectionRefusedError:  # the node has only just started
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
