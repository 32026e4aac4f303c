"""Serves kmock's emulator of the Kubernetes API: prints its address, and ends when stdin does."""

import asyncio
import sys

import kmock

RESOURCES = {
    "v1/services": ("Service", True),
    "v1/pods": ("Pod", True),
    "v1/namespaces": ("Namespace", False),
    "v1/nodes": ("Node", False),
    "discovery.k8s.io/v1/endpointslices": ("EndpointSlice", True),
}


async def main() -> None:
    handler = kmock.KubernetesEmulator()
    for name, (kind, namespaced) in RESOURCES.items():
        verbs = {"list", "watch", "create", "patch", "delete"}
        handler.resources[name] = {"kind": kind, "namespaced": namespaced, "verbs": verbs}
    async with handler, kmock.Server(handler, port=0):
        print(handler.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
