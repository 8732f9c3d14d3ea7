"""One case against a gateway: prints what it saw, a line for each call. Arguments: address, case."""
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
channel = grpc.insecure_channel(sys.argv[1], options=SIZES)
unary = channel.unary_unary("/test.Echo/Unary")
server_stream = channel.unary_stream("/test.Echo/Server")
client_stream = channel.stream_unary("/test.Echo/Client")
both = channel.stream_stream("/test.Echo/Both")
PATIENCE = 120


def tell(call):
    try:
        print(call())
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def kinds():
    tell(lambda: unary(b"hi", timeout=PATIENCE))
    tell(lambda: list(server_stream(b"3", timeout=PATIENCE)))
    tell(lambda: client_stream(iter([b"a", b"b"]), timeout=PATIENCE))
    tell(lambda: list(both(iter([b"a", b"b"]), timeout=PATIENCE)))


def in_step():
    """Each answer before the next question: nothing is held back on the way."""
    answered = threading.Semaphore(1)

    def questions():
        for number in range(10):
            answered.acquire()
            yield b"%d" % number

    for answer in both(questions(), timeout=PATIENCE):
        print(answer)
        answered.release()


def errors():
    for code in (1, 5, 7, 13, 14, 16):
        tell(lambda: unary(b"fail%d" % code, timeout=PATIENCE))
    tell(lambda: channel.unary_unary("/test.Echo/Nothing")(b"", timeout=PATIENCE))
    tell(lambda: channel.unary_unary("/no.Such/Service")(b"", timeout=PATIENCE))


def metadata():
    token = bytes(range(256))
    reply, call = unary.with_call(b"hi", timeout=PATIENCE, metadata=(("x-token-bin", token),))
    print(dict(call.trailing_metadata())["x-token-bin"] == token)


def large():
    for size in (100_000, 3_000_000):
        tell(lambda: len(unary(b"x" * size, timeout=PATIENCE)))
    tell(lambda: len(unary(b"x" * 5_000_000, timeout=PATIENCE)))
    tell(lambda: unary(b"still here", timeout=PATIENCE))


def compressed():
    gzip = grpc.Compression.Gzip
    tell(lambda: len(unary(b"z" * 100_000, timeout=PATIENCE, compression=gzip)))
    tell(lambda: len(list(both(iter([b"z" * 1000] * 3), timeout=PATIENCE, compression=gzip))))


def deadline():
    tell(lambda: 4 < float(unary(b"left", timeout=60)) < 6)
    tell(lambda: unary(b"hang", timeout=0.3))


def cancel():
    call = unary.future(b"hang", timeout=PATIENCE)
    sys.stdin.readline()
    call.cancel()
    print(call.code().name)


def broken():
    try:
        for answer in channel.unary_stream("/test.Echo/Hold")(b"", timeout=PATIENCE):
            print(answer, flush=True)
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def health_checks(*more):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", *more, "unknown"):
        tell(lambda: stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status)
    return stub


def health():
    stub = health_checks("shop.Cart")
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    tell(lambda: next(watch).status)
    watch.cancel()


globals()[sys.argv[2]]()
