"""What applications do with redis-py's client of clusters: says "well" if all of it is as with a cluster."""

import sys

from redis.cluster import RedisCluster

PORT = int(sys.argv[1])

for version in (2, 3):
    client = RedisCluster(host="127.0.0.1", port=PORT, protocol=version, decode_responses=True)
    nodes = client.get_nodes()
    assert [node.port for node in nodes] == [PORT], nodes
    for number in range(100):
        client.set(f"k{number}", number)
    assert [client.get(f"k{number}") for number in range(100)] == [str(number) for number in range(100)]
    assert client.mget_nonatomic([f"k{number}" for number in range(5)]) == ["0", "1", "2", "3", "4"]
    with client.pipeline() as pipe:
        for number in range(100):
            pipe.get(f"k{number}")
        assert pipe.execute() == [str(number) for number in range(100)]
    assert client.keyslot("foo") == client.cluster_keyslot("foo") == 12182
    assert sorted(client.scan_iter("k*")) == sorted(f"k{number}" for number in range(100))
    client.close()
print("well")
