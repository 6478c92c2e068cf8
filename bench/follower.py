"""Another process that follows configuration or flags, and tells when it sees each change.

Waiting, it sleeps until it is told of a change; busy, it asks in a loop without a pause, so that
the thread that follows has to fight for the interpreter.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

import django


def main() -> None:
    """Print a line when it follows, then the clock's reading for each value that it sees.

    A flag's values are numbers: it is on for odd ones.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["configs", "flags"])
    parser.add_argument("name", help="of the key, or of the flag")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    django.setup()

    from apps.configs.runtime import configs
    from apps.flags.runtime import flags
    from layoverhq.snapshot import FollowingSnapshot, listener

    def sees_config(value: int) -> bool:
        return bool(configs.get(options.name) == value)

    def sees_flag(value: int) -> bool:
        return flags.enabled(options.name, {}) == bool(value % 2)

    of_configs = options.kind == "configs"
    sees = sees_config if of_configs else sees_flag
    followed: FollowingSnapshot[Any] = configs.directory if of_configs else flags.directory
    told = threading.Event()
    followed.get()
    followed.watchers.append(lambda _: told.set())
    if not listener.connected.wait(10):
        raise SystemExit("the listener does not connect")
    print("follows", flush=True)
    for value in range(options.first, options.last):
        while not sees(value):
            if not options.busy:
                told.wait()
                told.clear()
        print(time.monotonic(), flush=True)
    listener.stop()


if __name__ == "__main__":
    main()
