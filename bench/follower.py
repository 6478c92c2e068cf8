"""Another process that follows configuration, and tells when it sees each change.

Waiting, it sleeps until it is told of a change; busy, it asks in a loop without a pause, so that
the thread that follows has to fight for the interpreter.
"""

from __future__ import annotations

import argparse
import threading
import time

import django


def main() -> None:
    """Print a line when it follows, then the clock's reading for each value that it sees."""
    parser = argparse.ArgumentParser()
    parser.add_argument("key")
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    django.setup()

    from apps.configs.runtime import configs
    from layoverhq.snapshot import listener

    told = threading.Event()
    configs.get(options.key)
    configs.directory.watchers.append(lambda _: told.set())
    if not listener.connected.wait(10):
        raise SystemExit("the listener does not connect")
    print("follows", flush=True)
    for value in range(options.first, options.last):
        while configs.get(options.key) != value:
            if not options.busy:
                told.wait()
                told.clear()
        print(time.monotonic(), flush=True)
    listener.stop()


if __name__ == "__main__":
    main()
