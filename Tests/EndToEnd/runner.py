"""Runs the tests of this folder: every coroutine named test_… in every module named check_….

Each test gets a Site of its own. Several run at once; each has a time limit that only ends one that hangs.
"""

import asyncio
import importlib
import inspect
import os
import pathlib
import sys
import time
import traceback

from site_of_test import Site, Skip

# Seconds after which a test is taken to hang.
LIMIT = 600


def tests():
    """Name and coroutine of each test; what takes longest comes first."""
    found = []
    for file in sorted(pathlib.Path(__file__).parent.glob("check_*.py")):
        module = importlib.import_module(file.stem)
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction):
            if name.startswith("test_") and function.__module__ == module.__name__:
                weight = getattr(function, "weight", 0)
                found.append((-weight, file.stem, function.__code__.co_firstlineno, name, function))
    return [(item[3].removeprefix("test_").replace("_", " "), item[4]) for item in sorted(found)]


async def run(name, function):
    """Runs one test and says in a line what became of it."""
    site = Site(name)
    started = time.monotonic()
    try:
        async with site:
            try:
                await asyncio.wait_for(function(site), LIMIT)
            except Exception:
                site.keep()
                raise
    except Skip as reason:
        print(f"skip - {name}: {reason}", flush=True)
        return "skipped"
    except Exception:
        text = traceback.format_exc() + site.story()
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        print(f"not ok - {name}\n{indented}", end="", flush=True)
        return "failed"
    print(f"ok - {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return "passed"


async def main(words):
    chosen = [
        (name, function)
        for name, function in tests()
        if not words or any(word.replace("_", " ") in name for word in words)
    ]
    jobs = asyncio.Semaphore(int(os.environ.get("SKOS_TEST_JOBS", os.cpu_count() or 2)))

    async def limited(item):
        async with jobs:
            return await run(*item)

    results = await asyncio.gather(*(limited(item) for item in chosen))
    counts = [results.count(word) for word in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if counts[1] or not results else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
