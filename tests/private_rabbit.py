"""A private RabbitMQ that lends its vhosts to one test after the other."""

from __future__ import annotations

from typing import Any

from celeriac.torture.servers import rabbit

SWEEP = """
    Is = fun(Prefix, {resource, _, _, Name}) -> string:prefix(Name, Prefix) =/= nomatch end,
    [catch rabbit_networking:close_connection(Pid, "the test is over")
     || [{pid, Pid}, {vhost, <<"VHOST">>}] <- rabbit_networking:connection_info_all([pid, vhost])],
    {Levels, Others} = lists:partition(fun(Queue) -> Is("celery_delayed_", amqqueue:get_name(Queue)) end,
                                       rabbit_amqqueue:list(<<"VHOST">>)),
    [catch rabbit_amqqueue:delete(Queue, false, false, <<"tests">>) || Queue <- Others],
    [rabbit_exchange:delete(Name, false, <<"tests">>)
     || Exchange <- rabbit_exchange:list(<<"VHOST">>), Name <- [element(2, Exchange)],
        element(4, Name) =/= <<>>, not Is("amq.", Name), not Is("celery_delayed_", Name)],
    IsEmpty = fun(Queue) ->
        {ok, {_, Count}, _} = ra:local_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1),
        Count =:= 0
    end,
    Whole = lists:member(length(Levels), [0, 28])
        andalso lists:all(fun(Queue) -> amqqueue:get_type(Queue) =:= rabbit_quorum_queue end, Levels),
    [rabbit_amqqueue:purge(Queue) || Whole, Queue <- Levels, not IsEmpty(Queue)],
    Whole andalso lists:all(IsEmpty, Levels) andalso rabbit_amqqueue:list(<<"VHOST">>) -- Levels =:= [].
"""
"""Leaves nothing in a vhost but the levels of Celery's delays; true where that was possible, and nothing waits in them."""


class PrivateRabbit(rabbit.PrivateRabbit):
    """A node whose vhosts are used again, because the levels of Celery's delays take half a second to make."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._returned_vhosts: list[str] = []

    def borrow(self) -> str:
        """The name of a vhost in which there is nothing, but perhaps the levels of Celery's delays."""
        return self._returned_vhosts.pop() if self._returned_vhosts else self.vhost()

    def give_back(self, vhost: str) -> None:
        """Say that a vhost is no longer needed: the next one gets it, or it is deleted."""
        # The levels are kept because they are 28 quorum queues, and half a second to make.
        if self.evaluate(SWEEP.replace("VHOST", vhost)) == "true":
            self._returned_vhosts.append(vhost)
        else:
            self.delete_vhost(vhost)
