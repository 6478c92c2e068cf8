"""An experiment's results as its page shows them: texts, tables and charts."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

from django.utils.safestring import SafeString

from apps.flags.experiments import interference
from apps.flags.models import Experiment, ExperimentGoal
from apps.flags.results import GoalResult, Interval, Results, VariantResult
from layoverhq.model_admin import pill

COLOURS = ("#64748b", "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f")


def percent(share: float) -> str:
    """Write hundredths of a per cent."""
    return f"{share / 100:g} %"


def told(experiment: Experiment, results: Results) -> dict[str, Any]:
    """Return the results as texts, tables and charts."""
    total = sum(results.units.values())
    is_running = experiment.status == Experiment.Status.RUNNING
    return {
        "experiment": experiment,
        "results": results,
        "as_of": results.as_of,
        "total": total,
        "interference": interference(experiment) if is_running else "",
        "contaminated": f"{results.contaminated:,}",
        "units": [
            {
                "variant": variant,
                "number": f"{number:,}",
                "expected": percent(experiment.split[variant]),
                "share": f"{100 * number / total:.2f} %" if total else "—",
            }
            for variant, number in results.units.items()
        ],
        "mismatch_p_value": _p_value(results.sample_ratio_p_value),
        "level": f"{100 * (1 - results.alpha):g} %",
        "goals": [_goal(goal, results) for goal in results.goals],
    }


def _goal(found: GoalResult, results: Results) -> dict[str, Any]:
    is_rate = found.goal.kind == ExperimentGoal.Kind.CONVERSION
    return {
        "goal": found.goal,
        "is_rate": is_rate,
        "shortage": found.shortage,
        "rows": [_row(row, is_rate, results) for row in found.variants],
        "chart": json.dumps(_chart(found, is_rate)),
        # A line has two ends.
        "drawn": any(len(points) > 1 for points in found.series.values()),
        "legend": list(zip(found.series, cycle(COLOURS), strict=False)),
    }


def _row(row: VariantResult, is_rate: bool, results: Results) -> dict[str, Any]:
    compared = row.comparison
    told: dict[str, Any] = {
        "variant": row.variant,
        "is_control": row.is_control,
        "units": f"{row.sample.units:,}",
        "total": f"{row.sample.total:,.0f}" if is_rate else f"{row.sample.total:,.2f}",
        "mean": _number(row.mean, is_rate) if row.sample.units else "—",
        "interval": _range(row.interval, is_rate),
        "verdict": _verdict(row, results),
    }
    if compared:
        told |= {
            "lift": f"{100 * compared.lift:+.1f} %" if compared.lift is not None else "—",
            "lift_interval": _span(compared.lift_interval, 100, 1, " %"),
            "difference": _number(compared.difference, is_rate, sign=True),
            "difference_interval": _range(compared.interval, is_rate, sign=True),
            "sequential_interval": _range(compared.sequential, is_rate, sign=True),
            "p_value": _p_value(compared.p_value),
            "sequential_p_value": _p_value(compared.sequential_p_value),
        }
    return told


def _verdict(row: VariantResult, results: Results) -> SafeString | str:
    if row.is_control:
        return "control"
    if results.is_mismatched:
        return pill("not to be trusted", "danger")
    if row.better is None:
        return pill("undecided")
    return pill("better", "success") if row.better else pill("worse", "danger")


def _number(value: float, is_rate: bool, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if is_rate:
        return f"{100 * value:{plus}.2f}" + (" points" if sign else " %")
    return f"{value:{plus},.3f}"


def _range(interval: Interval | None, is_rate: bool, *, sign: bool = False) -> str:
    if is_rate:
        return _span(interval, 100, 2, "" if sign else " %", sign=sign)
    return _span(interval, 1, 3, "", sign=sign)


def _span(
    interval: Interval | None, times: float, digits: int, unit: str, *, sign: bool = True
) -> str:
    if interval is None:
        return "—"
    form = f"{'+' if sign else ''},.{digits}f"
    return f"{times * interval.low:{form}} to {times * interval.high:{form}}{unit}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "—"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _chart(found: GoalResult, is_rate: bool) -> dict[str, Any]:
    """Return lines of each variant and, dashed, of its interval's ends."""
    times = 100 if is_rate else 1
    days = sorted({point.day for points in found.series.values() for point in points})
    datasets = []
    for (variant, points), colour in zip(found.series.items(), cycle(COLOURS), strict=False):
        by_day = {point.day: point for point in points}
        line: list[Any] = []
        low: list[Any] = []
        high: list[Any] = []
        for day in days:
            point = by_day.get(day)
            known = point is not None and point.interval is not None
            line.append(round(times * point.mean, 4) if point and known else None)
            low.append(round(times * point.interval.low, 4) if known else None)
            high.append(round(times * point.interval.high, 4) if known else None)
        datasets.append({"label": variant, "data": line, "borderColor": colour})
        for end, data in (("from", low), ("to", high)):
            datasets.append(
                {
                    "label": f"{variant} {end}",
                    "data": data,
                    "borderColor": colour,
                    "borderWidth": 1,
                    "borderDash": [3, 4],
                }
            )
    if datasets:
        datasets[0] |= {"displayYAxis": True, "suffixYAxis": "%" if is_rate else ""}
        datasets[0]["maxTicksXLimit"] = 12
    return {"labels": [f"{day:%d %b}" for day in days], "datasets": datasets}
