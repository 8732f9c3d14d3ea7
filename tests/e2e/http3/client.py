"""One case against a gateway: prints what it saw, a line each. Arguments: port, authority's file, case."""
import asyncio
import hashlib
import socket
import sys
from collections import deque

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamFrame
from aioquic.tls import Epoch

PORT, ROOTS, CASE = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Client(QuicConnectionProtocol):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.ended = asyncio.get_running_loop().create_future()

    def begin(self, method, path, fields=(), body=None, trailers=None):
        stream = self._quic.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path), *fields]
        head = [(name.encode(), value.encode()) for name, value in head]
        self.http.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=trailers is None)
        if trailers is not None:
            trailers = [(name.encode(), value.encode()) for name, value in trailers]
            self.http.send_headers(stream, trailers, end_stream=True)
        answer = {"status": None, "body": deque(), "trailers": [], "done": asyncio.get_running_loop().create_future()}
        self.answers[stream] = answer
        self.transmit()
        return answer

    async def ask(self, *arguments, **keywords):
        answer = self.begin(*arguments, **keywords)
        await answer["done"]
        return answer["status"], b"".join(answer["body"]), answer["trailers"]

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(event.error_code)
            for answer in self.answers.values():
                if not answer["done"].done():
                    answer["done"].set_result(None)
        if isinstance(event, StreamReset) and event.stream_id in self.answers:
            answer = self.answers[event.stream_id]
            answer["status"] = f"reset {event.error_code:#x}"
            answer["done"].set_result(None)
        for item in self.http.handle_event(event):
            answer = self.answers.get(item.stream_id)
            if answer is None:
                continue
            if isinstance(item, HeadersReceived):
                if answer["status"] is None:
                    answer["status"] = dict(item.headers)[b":status"].decode()
                else:
                    answer["trailers"] = [(name.decode(), value.decode()) for name, value in item.headers]
            elif isinstance(item, DataReceived):
                answer["body"].append(item.data)
            if item.stream_ended and not answer["done"].done():
                answer["done"].set_result(None)


class Memory:
    """What a client keeps from one connection to the next."""

    def __init__(self):
        self.ticket, self.token = None, b""

    def open(self, **keywords):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, cafile=ROOTS, server_name="a.test")
        configuration.session_ticket, configuration.token = self.ticket, self.token
        return connect(
            "127.0.0.1",
            PORT,
            configuration=configuration,
            create_protocol=Client,
            session_ticket_handler=lambda ticket: setattr(self, "ticket", ticket),
            token_handler=lambda token: setattr(self, "token", token),
            **keywords,
        )


def digest(data):
    return hashlib.sha256(data).hexdigest()


async def kinds(client):
    print(*await client.ask("GET", "/"))
    print(*await client.ask("POST", "/echo", body=b"sent"))


async def large(client):
    body = bytes(range(256)) * 8000
    status, answer, _ = await client.ask("POST", "/echo", body=body)
    print(status, len(answer), digest(answer) == digest(body))


async def many(client):
    answers = [client.begin("GET", f"/{number}") for number in range(300)]
    await asyncio.gather(*(answer["done"] for answer in answers))
    print(len(answers), {answer["status"] for answer in answers})


async def trailers(client):
    print(*await client.ask("POST", "/trailers", [("te", "trailers")], b"body", [("x-up", "5")]))


async def keys(client):
    for number in range(5):
        client.request_key_update()
        status, body, _ = await client.ask("POST", "/echo", body=b"key %d" % number)
        print(status, body.decode())


async def move(client):
    print(*await client.ask("GET", "/"))
    for number in range(6):
        near = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        near.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        near.bind(("::", 0, 0, 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, sock=near)
        if number % 2:
            client.change_connection_id()
        print(*await client.ask("GET", f"/{number}"))


async def early():
    memory = Memory()
    async with memory.open() as client:
        print(*await client.ask("GET", "/"))
        await client.ping()
    for method in ["GET", "POST"]:
        async with memory.open(wait_connected=False) as client:
            answer = client.begin(method, "/early")
            await answer["done"]
            print(method, answer["status"], client._quic.tls.early_data_accepted)
            await client.ping()


# Attacks.


async def acknowledge(client):
    """Q3: what was never sent."""
    await client.ask("GET", "/")
    space = client._quic._spaces[Epoch.ONE_RTT]
    space.ack_queue.add(0, 100_000)
    space.ack_at = 0
    client._quic.send_ping(1)
    client.transmit()
    print(f"{await client.ended:#x}")


async def names(client):
    """Q5: more connection ids than were asked for."""
    await client.ask("GET", "/")
    client._quic._remote_active_connection_id_limit = 500
    client._quic._replenish_connection_ids()
    client.transmit()
    print(f"{await client.ended:#x}")


async def fragments(client):
    """Q5: a body of single bytes with gaps between them."""
    answer = client.begin("POST", "/echo", body=b"x" * 30_000, trailers=None)
    stream = next(iter(client.answers))
    sender = client._quic._streams[stream].sender
    offsets = iter(range(100, 120_000, 2))

    def piece(max_size, max_offset=None):
        offset = next(offsets, None)
        if offset is None:
            return None
        return QuicStreamFrame(data=b"y", fin=False, offset=offset)

    sender.get_frame = piece
    sender.on_data_delivery = lambda *arguments: None
    type(sender).buffer_is_empty = property(lambda self: False, lambda self, value: None)
    type(sender).next_offset = property(lambda self: 0)
    for _ in range(2000):
        client.transmit()
        await asyncio.sleep(0)
    print("sent", answer["status"])


async def main():
    if CASE == "early":
        return await early()
    async with Memory().open() as client:
        await globals()[CASE](client)


asyncio.run(asyncio.wait_for(main(), 110))
