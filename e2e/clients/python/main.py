"""What programs in Python do with etcd3gw (by the gateway) and aetcd (by gRPC), told line by line.

Nothing that it prints differs between two runs against the same server: no ids, no times.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import aetcd
from etcd3gw.client import Etcd3Client


def gateway(host, port):
    client = Etcd3Client(host=host, port=port, api_path="/v3/")
    print("put", client.put("gw/a", "1"), client.put("gw/b", "2"))
    print("get", client.get("gw/a"), client.get("gw/none"))
    print("prefix", [(v, it["key"], it["version"]) for v, it in client.get_prefix("gw/")])
    print("create", client.create("gw/a", "x"), client.create("gw/c", "3"))
    print("replace", client.replace("gw/a", "1", "4"), client.replace("gw/a", "1", "5"))
    lease = client.lease(ttl=60)
    client.put("gw/l", "1", lease=lease)
    print("lease", lease.refresh(), lease.keys(), lease.revoke(), client.get("gw/l"))
    with client.lock("gw", ttl=30) as lock:
        print("lock", lock.is_acquired())
    events, cancel = client.watch("gw/w", start_revision=1)
    client.put("gw/w", "1")
    client.delete("gw/w")
    seen = [next(events), next(events)]
    print("watch", [(it.get("type"), it["kv"].get("value")) for it in seen])
    cancel()
    print("delete", client.delete("gw/a"), client.delete("gw/a"), client.delete_prefix("gw/"))


async def grpc(host, port):
    async with aetcd.Client(host=host, port=port) as client:
        await client.put(b"a/a", b"1")
        before = await client.put(b"a/a", b"2", prev_kv=True)
        print("before", before.prev_kv.value)
        got = await client.get(b"a/a")
        print("get", got.value, got.version, await client.get(b"a/none"))
        print("prefix", [(it.key, it.value) for it in await client.get_prefix(b"a/")])
        print("replace", await client.replace(b"a/a", b"2", b"3"), await client.replace(b"a/a", b"2", b"4"))
        done, answers = await client.transaction(
            compare=[client.transactions.value(b"a/a") == b"3"],
            success=[client.transactions.put(b"a/b", b"1"), client.transactions.get(b"a/a")],
            failure=[],
        )
        print("txn", done, len(answers))
        lease = await client.lease(60)
        await client.put(b"a/l", b"1", lease=lease)
        await lease.revoke()
        print("after the lease", await client.get(b"a/l"))
        async with client.lock(b"a", ttl=30) as lock:
            print("lock", await lock.is_acquired())
        watch = await client.watch(b"a/w", start_revision=1)
        await client.put(b"a/w", b"1")
        await client.delete(b"a/w")
        seen = []
        async for it in watch:
            seen.append((str(it.kind), it.kv.key, it.kv.value))
            if len(seen) == 2:
                break
        await watch.cancel()
        print("watch", seen)
        print("delete", (await client.delete_prefix(b"a/")).deleted)


if __name__ == "__main__":
    server = urlsplit(sys.argv[1])
    gateway(server.hostname, server.port)
    asyncio.run(asyncio.wait_for(grpc(server.hostname, server.port), 30))
