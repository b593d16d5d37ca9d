"""Hosts that are network namespaces of this machine, joined by a link whose delay and cuts are ours.

Each host has a TUN device; a thread of this process takes the packets from one and gives them to the other. So a delay
needs no module of the kernel, as ``tc netem`` does. Linux, as root, with ``ip`` (Debian's iproute2).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Self

TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # of linux/if_tun.h
DEVICE = "metarl0"
MTU = 60_000  # bytes of a packet: few of them, since each passes through Python
SERIAL = count()


def unavailable() -> str | None:
    """Why there can be no such hosts here; None where there can."""
    if shutil.which("ip") is None:
        return "ip is missing (Debian: apt-get install iproute2)"
    if not os.path.exists(TUN):
        return f"there is no {TUN}"
    try:
        with Hosts(1):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        return f"network namespaces are not permitted: {' '.join(told.split())}"


class Hosts:
    """So many hosts, within a ``with``; each reaches the others.

    Args:
        number: of hosts.
        delay: seconds that a packet takes from one to another.
    """

    def __init__(self, number: int, delay: float = 0.0) -> None:
        self.number, self.delay = number, delay
        self.names = [f"metarl-{os.getpid()}-{next(SERIAL)}" for _ in range(number)]
        self.up = True
        """Whether the link carries packets; they are lost while it doesn't."""
        self.carried = 0
        """Bytes that went from one host to another."""

    def __enter__(self) -> Self:
        """Make them."""
        self._ends: list[int] = []
        self._done, self._wake = os.pipe()
        try:
            for number, name in enumerate(self.names):
                ip("netns", "add", name)
                end, own = os.open(TUN, os.O_RDWR | os.O_NONBLOCK), f"{DEVICE}{number}"
                self._ends.append(end)
                fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", own.encode(), IFF_TUN | IFF_NO_PI))
                ip("link", "set", own, "netns", name)
                ip("-n", name, "link", "set", own, "name", DEVICE, "mtu", str(MTU))
                ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", DEVICE)
                for device in (DEVICE, "lo"):
                    ip("-n", name, "link", "set", device, "up")
        except BaseException:
            self._remove()
            raise
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove them; what runs on them should have ended."""
        os.write(self._wake, b"x")
        self._carrier.join()
        self._remove()

    def _remove(self) -> None:
        for end in (*self._ends, self._done, self._wake):
            os.close(end)
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):  # it was not made
                ip("netns", "del", name)

    def address(self, host: int) -> str:
        """Of a host, by its number."""
        return f"10.77.0.{host + 1}"

    def start(self, host: int, command: Sequence[str], env: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
        """A process on a host, in a session of its own."""
        own = {**os.environ, "GLOO_SOCKET_IFNAME": DEVICE, **env}
        given = ["ip", "netns", "exec", self.names[host], *command]  # ip becomes the command
        return subprocess.Popen(given, env=own, text=True, start_new_session=True, **options)

    def _carry(self) -> None:
        """Take packets from each host, and give each to the host of its address when its time has come."""
        ends = {bytes([10, 77, 0, number + 1]): end for number, end in enumerate(self._ends)}
        under_way: list[tuple[float, int, int, bytes]] = []
        serial = count()
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready = select.select([*self._ends, self._done], [], [], wait)[0]
            if self._done in ready:
                return
            now = time.monotonic()
            for end in ready:
                with contextlib.suppress(BlockingIOError):
                    packet = os.read(end, MTU + 100)
                    target = ends.get(packet[16:20])
                    if self.up and target is not None:
                        heapq.heappush(under_way, (now + self.delay, next(serial), target, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(under_way)
                with contextlib.suppress(OSError):  # its host has no room for it, and it is lost
                    self.carried += os.write(target, packet)


def ip(*arguments: str) -> None:
    """``ip`` of iproute2."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
