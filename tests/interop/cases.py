"""Runs the cases of a script one by one, each with a time limit, and prints a JSON line for each."""

import argparse
import asyncio
import inspect
import json
import sys
import time
import traceback
import urllib.request

_cases = []


def case(function):
    """Registers a case: a function, or a coroutine function, of one argument: the options."""
    _cases.append(function)
    return function


def case_at(*kinds):
    """As `case`, only where the entry is one of `kinds`: direct, local, tunnel."""
    def register(function):
        function.kinds = kinds
        return case(function)
    return register


def main(limit=30):
    """Runs all cases, or those named by `--case`; exits 1 when one fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entry", required=True, help="host:port that clients go to")
    parser.add_argument("--counters", required=True, help="host:port of the HTTP backend itself, for its counters")
    parser.add_argument("--kind", choices=["direct", "local", "tunnel"], default="direct")
    parser.add_argument("--case", action="append", help="only these")
    options = parser.parse_args()
    failed = 0
    for function in _cases:
        if options.case and function.__name__ not in options.case:
            continue
        if options.kind not in getattr(function, "kinds", ["direct", "local", "tunnel"]):
            continue
        began = time.monotonic()
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(asyncio.wait_for(function(options), limit))
            else:
                function(options)
            ok, detail = True, ""
        except BaseException as error:  # noqa: BLE001 - a case may fail in any way
            where = traceback.extract_tb(error.__traceback__)
            mine = [frame for frame in where if frame.filename == sys.argv[0]]
            line = mine[-1].lineno if mine else "?"
            ok, detail = False, f"line {line}: {type(error).__name__}: {error}"
        failed += not ok
        took = round(time.monotonic() - began, 3)
        print(json.dumps({"case": function.__name__, "ok": ok, "detail": detail, "seconds": took}), flush=True)
    sys.exit(1 if failed else 0)


def equal(actual, expected, what=""):
    """Fails with both values; long ones are cut."""
    if actual != expected:
        raise AssertionError(f"{what}: got {str(actual)[:300]!r}, wanted {str(expected)[:300]!r}")


def check(condition, what):
    """Fails with `what`."""
    if not condition:
        raise AssertionError(what)


def counters(options):
    """What the backends have counted: calls, waiting, cancelled."""
    with urllib.request.urlopen(f"http://{options.counters}/counters", timeout=5) as answer:
        return json.load(answer)


def until(what, condition, limit=5.0):
    """Waits for a condition with a deadline; returns the seconds that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            raise AssertionError(f"waited {limit} s in vain until {what}")
        time.sleep(0.01)
    return time.monotonic() - began


def pattern(length):
    """The body of the backend's /bytes/N."""
    period = bytes(range(251))
    return (period * (length // 251 + 1))[:length]
