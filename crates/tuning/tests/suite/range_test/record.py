"""Records what fastai's suggestions are for some curves: `python record.py > recorded.json`.

The functions are those of fastai 2.8 (callback/schedule.py: LRFinder, lr_find, valley, steep, minimum) on
lists: the exponential average without bias of fastai's recorder, the stop at four times the lowest, the
first tenth of the steps asked for and the last five left out.
"""

import json
import math


def valley(rates, losses):
    n = len(losses)
    max_start, max_end = 0, 0
    lengths = [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[max_end] < lengths[i]:
                max_end = i
                max_start = max_end - lengths[max_end]
    sections = (max_end - max_start) / 3
    return rates[max_start + int(sections) + int(sections / 2)]


def steep(rates, losses):
    slopes = [
        (losses[i + 1] - losses[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(len(losses) - 1)
    ]
    return rates[slopes.index(min(slopes))]


def minimum(rates, losses):
    return rates[losses.index(min(losses))] / 10


def run(name, losses, steps, smoothing):
    rates = [1e-6 * (10.0 / 1e-6) ** (i / (steps - 1)) for i in range(steps)]
    smoothed, average, weight, best = [], 0.0, 1.0, math.inf
    for i in range(steps):
        average = smoothing * average + (1 - smoothing) * losses(i)
        weight *= smoothing
        smoothed.append(average / (1 - weight))
        best = min(best, smoothed[-1])
        if smoothed[-1] > 4 * best:
            break
    points = len(smoothed)
    rates, used = rates[:points][steps // 10 : -5], smoothed[steps // 10 : -5]
    return {
        "name": name,
        "steps": steps,
        "smoothing": smoothing,
        "points": points,
        "losses": [losses(i) for i in range(points)],
        "suggestions": [steep(rates, used), valley(rates, used), minimum(rates, used)],
    }


def explodes(i):
    logistic = 1 / (1 + math.exp(-(i - 50) / 6))
    return 2 - logistic + math.exp((i - 85) / 4) + 0.01 * math.sin(3 * i)


def falls(i):
    return 2 - i / 70 + 1e-4 * i * i / 70


def early(i):
    return 1.5 + 0.3 * math.sin(1.7 * i) - 0.02 * i + math.exp((i - 33) / 2)


curves = [
    run("stands, falls, explodes", explodes, 100, 0.0),
    run("the same, smoothed", explodes, 100, 0.98),
    run("falls from the first step on", falls, 100, 0.98),
    run("falls, not smoothed", falls, 85, 0.0),
    run("ends early", early, 100, 0.3),
]
print(json.dumps(curves, indent=1))
