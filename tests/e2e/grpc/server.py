"""A gRPC server with every kind of call, on raw bytes. Prints its port."""
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if "x-token-bin" in metadata:
        context.set_trailing_metadata((("x-token-bin", metadata["x-token-bin"]),))
    if request.startswith(b"fail"):
        context.abort(CODES[int(request[4:])], "because \u00f6 100%")
    if request == b"left":
        return b"%f" % context.time_remaining()
    if request == b"hang":
        gone = threading.Event()
        context.add_callback(gone.set)
        print("hangs", flush=True)
        gone.wait(30)
        print("cancelled" if gone.is_set() else "forgotten", flush=True)
    return b"echo " + request


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def client_stream(requests, context):
    return b",".join(requests)


def both(requests, context):
    for request in requests:
        yield b"<" + request + b">"


def hold(request, context):
    yield b"one"
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(30)


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Echo/Server": grpc.unary_stream_rpc_method_handler(server_stream),
            "/test.Echo/Hold": grpc.unary_stream_rpc_method_handler(hold),
            "/test.Echo/Client": grpc.stream_unary_rpc_method_handler(client_stream),
            "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(details.method)


SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(futures.ThreadPoolExecutor(8), options=SIZES, compression=grpc.Compression.Gzip)
server.add_generic_rpc_handlers((Echo(),))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
