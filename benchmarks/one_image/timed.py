"""Times of one call, for all programs alike."""

import statistics
import time

WARM_UPS = 2


def cell(call, case):
    """Return what is known of the milliseconds of `call(number)`.

    After warming up, for `case["seconds"]`, but `case["least"]` calls.
    """
    for number in range(WARM_UPS):
        call(number)
    spent, end = [], time.perf_counter() + case["seconds"]
    while len(spent) < case["least"] or time.perf_counter() < end:
        start = time.perf_counter()
        call(len(spent))
        spent.append(1e3 * (time.perf_counter() - start))
    low, *_, high = statistics.quantiles(spent, n=10)
    return {
        "median_ms": statistics.median(spent),
        "tenth_ms": low,
        "ninetieth_ms": high,
        "calls": len(spent),
    }
