"""What applications do with redis-py: says "well" if all of it is as with a server."""

import asyncio
import sys
import threading

import redis
import redis.asyncio

PORT = int(sys.argv[1])


def plain(protocol):
    client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    assert client.set("a", "1") and client.get("a") == "1"
    client.hset("h", mapping={"x": 1, "y": 2})
    assert client.hgetall("h") == {"x": "1", "y": "2"}
    client.zadd("z", {"m": 1.5})
    assert client.zscore("z", "m") == 1.5
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"k{number}", number)
            pipe.get(f"k{number}")
        assert pipe.execute()[1::2] == [str(number) for number in range(100)]
    assert client.mget(["k1", "k2", "none"]) == ["1", "2", None]
    assert sorted(client.scan_iter("k*", count=10)) == sorted(f"k{number}" for number in range(100))
    assert client.eval("return redis.call('get', KEYS[1])", 1, "k5") == "5"
    # EVALSHA first, and SCRIPT LOAD when that is refused.
    assert client.register_script("return ARGV[1]")(args=["x"]) == "x"
    assert client.xadd("s", {"a": 1}) and client.xread({"s": "0"}, count=1)
    assert client.client_id() > 0


def transactions(protocol):
    client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    with client.pipeline() as pipe:
        pipe.set("{t}a", 1)
        pipe.incr("{t}a")
        pipe.get("{t}a")
        assert pipe.execute() == [True, 2, "2"]

    def add(pipe):
        value = int(pipe.get("{t}a"))
        pipe.multi()
        pipe.set("{t}a", value + 1)

    assert client.transaction(add, "{t}a") == [True]
    assert client.get("{t}a") == "3"
    lock = client.lock("lock", timeout=10)
    assert lock.acquire() and lock.release() is None


def messages(protocol):
    client = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    listener = client.pubsub()
    listener.subscribe("channel")
    listener.psubscribe("chan*")
    kinds = [listener.get_message(timeout=20)["type"] for _ in range(2)]
    assert kinds == ["subscribe", "psubscribe"], kinds
    assert client.publish("channel", "hi") == 2
    seen = [listener.get_message(timeout=20) for _ in range(2)]
    assert sorted(message["type"] for message in seen) == ["message", "pmessage"], seen
    listener.close()
    later = threading.Timer(0.1, lambda: client.rpush("list", "value"))
    later.start()
    waiting = redis.Redis(port=PORT, protocol=protocol, decode_responses=True)
    assert list(waiting.blpop("list", timeout=20)) == ["list", "value"]


async def together(protocol):
    client = redis.asyncio.Redis(port=PORT, protocol=protocol, decode_responses=True)
    await asyncio.gather(*(client.set(f"q{number}", number) for number in range(50)))
    values = await asyncio.gather(*(client.get(f"q{number}") for number in range(50)))
    assert values == [str(number) for number in range(50)]
    async with client.pubsub() as listener:
        await listener.subscribe("news")
        assert (await listener.get_message(timeout=20))["type"] == "subscribe"
        await client.publish("news", "1")
        assert (await listener.get_message(timeout=20))["data"] == "1"
    await client.aclose()


for version in (2, 3):
    plain(version)
    transactions(version)
    messages(version)
    asyncio.run(together(version))
print("well")
