"""What goes on in Python while members die: the lines are those that the Rust one's failover.rs describes.

Both packages know one member and try nothing again: their users take the next member, so it is done here as they would.
"""

import asyncio
import itertools
import sys
import threading
import time
from urllib.parse import urlsplit

import aetcd
from aetcd.locks import Lock
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from grpc.aio import AioRpcError

END = b"failover/end/python"
AGAIN = 0.02  # seconds between two attempts
PACE = 0.005  # seconds between two writes
ATTEMPT = 8  # seconds: as long as a member may take to give up on a proposal
TTL = 30  # seconds: longer than any failover

# What a connection or a member that dies looks like, and one that waits for a leader.
FAILURES = (aetcd.ClientError, AioRpcError, asyncio.TimeoutError, Etcd3Exception)


def now():
    return time.time_ns() // 1000


def say(*words):
    # In one piece: several threads say something.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Members:
    """A connection to one member, and to the next one when that fails."""

    def __init__(self, endpoints):
        self.endpoints = itertools.cycle(endpoints)
        self.client = None

    async def insisted(self, attempt):
        """Until it is done."""
        while True:
            try:
                if self.client is None:
                    host, port = next(self.endpoints)
                    self.client = aetcd.Client(host=host, port=port)
                return await asyncio.wait_for(attempt(self.client), ATTEMPT)
            except FAILURES:
                self.client = None
                await asyncio.sleep(AGAIN)


async def puts(members, stopped):
    for n in itertools.count():
        if stopped.is_set():
            return
        key = f"failover/put/python/{n}"
        put = await members.insisted(lambda it: it.put(key.encode(), str(n).encode()))
        say("put", key, put.header.revision, now())
        await asyncio.sleep(PACE)


def puts_by_the_gateway(endpoints, stopped):
    endpoints = itertools.cycle(endpoints)
    client = None
    for n in itertools.count():
        if stopped.is_set():
            return
        key = f"failover/put/gateway/{n}"
        while True:
            try:
                if client is None:
                    host, port = next(endpoints)
                    client = Etcd3Client(host=host, port=port, api_path="/v3/", timeout=ATTEMPT)
                client.put(key, str(n))
                break
            except FAILURES:
                client = None
                time.sleep(AGAIN)
        # It does not tell the revision.
        say("put", key, 0, now())
        time.sleep(PACE)


async def watches(endpoints, name):
    endpoints = itertools.cycle(endpoints)
    revision = 1
    while True:
        host, port = next(endpoints)
        try:
            async with aetcd.Client(host=host, port=port) as client:
                events = await asyncio.wait_for(client.watch_prefix(b"failover/", start_revision=revision), ATTEMPT)
                async for it in events:
                    say("event", name, it.kind, it.kv.key.decode(), it.kv.mod_revision)
                    revision = it.kv.mod_revision + 1
                    if it.kv.key == END:
                        return
        except FAILURES:
            await asyncio.sleep(AGAIN)


async def locks(members, stopped):
    while not stopped.is_set():
        lock = Lock(await members.insisted(ready), b"failover/lock", TTL)
        try:
            held = await lock.acquire(ATTEMPT)
        except FAILURES:
            # Whether it is held nobody has said.
            members.client = None
            held = await members.insisted(lambda it: belongs(it, lock))
        if not held:
            continue
        since = now()
        if not await members.insisted(lambda it: belongs(it, lock)):
            say("wrong", "a lock that is held has no key")
        say("held", "lock", since, now())
        await members.insisted(lambda it: release(it, lock))


async def ready(client):
    await client.status()
    return client


async def belongs(client, lock):
    lock._client = client
    return await lock.is_acquired()


async def release(client, lock):
    lock._client = client
    await lock.release()


async def play(endpoints):
    stopped = threading.Event()
    watchers = [watches(endpoints[n:] + endpoints[:n], f"python-{n}") for n in range(len(endpoints))]
    watchers = [asyncio.create_task(it) for it in watchers]
    members = Members(endpoints)
    actors = [puts(members, stopped)] + [locks(Members(endpoints), stopped) for _ in range(2)]
    actors = [asyncio.create_task(it) for it in actors]
    actors.append(asyncio.create_task(asyncio.to_thread(puts_by_the_gateway, endpoints, stopped)))
    await asyncio.to_thread(sys.stdin.read)
    stopped.set()
    await asyncio.gather(*actors)
    await members.insisted(lambda it: it.put(END, b""))
    await asyncio.gather(*watchers)


if __name__ == "__main__":
    servers = [urlsplit(it) for it in sys.argv[1:]]
    asyncio.run(play([(it.hostname, it.port) for it in servers]))
