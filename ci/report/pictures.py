"""The report's pictures of data, tuning, training, evaluation and monitoring; each function gets an empty figure."""

from pathlib import Path
from typing import Any

import numpy as np

from ci import stages
from ci.report.drawing import ABOVE, ACCENT, FAINT, INK, SOFT, WARM, WIDTH, dates, literal

_MARKERS = {"stable": "o", "shifted": "D", "drifted": "s", "too few rows": "x"}
_VERDICTS = {"promote": "^", "keep": "o", "block": "X"}


def windows(figure: Any, data: dict[str, Any]) -> None:
    """Draw which days are for what: `windows` as name, first day and end in ISO form, and `as_of`."""
    figure.set_size_inches(WIDTH, 1.75)
    axes = figure.add_subplot()
    hatches = {"training": "", "holdout": "////", "traffic": ""}
    fills = {"training": ACCENT, "holdout": "#9db7d9", "traffic": "#eef2f7"}
    for row, (name, first, end) in enumerate(data["windows"]):
        begin, finish = np.datetime64(first), np.datetime64(end)
        axes.barh(
            row, finish - begin, left=begin, height=0.62, color=fills[name], edgecolor=INK, hatch=hatches[name], lw=0.8
        )
        days = int((finish - begin) / np.timedelta64(1, "D"))
        inside = name == "training"
        axes.annotate(
            f"{days} days",
            (begin, row) if inside else (finish, row),
            (6, 0),
            textcoords="offset points",
            va="center",
            color="white" if inside else INK,
        )
    axes.axvline(np.datetime64(data["as_of"]), color=INK, ls="--", lw=1)
    axes.set_yticks(range(len(data["windows"])), [name for name, _, _ in data["windows"]], color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"day (the dashed line is as_of, {data['as_of']})")
    dates(axes)


def missing(figure: Any, data: dict[str, float]) -> None:
    """Draw the share of missing values by column."""
    figure.set_size_inches(WIDTH, 0.9 + 0.22 * len(data))
    axes = figure.add_subplot()
    bars = axes.barh(list(data), [100 * share for share in data.values()], color="#9db7d9", edgecolor=INK, lw=0.7)
    axes.bar_label(bars, [f"{share:.1%}" for share in data.values()], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("missing values (% of rows)")


def tuning(figure: Any, data: dict[str, Any]) -> None:
    """Draw the objective of each trial and the best so far; `values`, whether they `stopped`, `name`, `direction`."""
    axes = figure.add_subplot()
    less = data["direction"] == "min"
    values, stopped = np.array(data["values"]), np.array(data["stopped"], dtype=bool)
    trials = np.arange(1, len(values) + 1)
    complete = np.where(stopped, np.inf if less else -np.inf, values)
    best = (np.minimum if less else np.maximum).accumulate(complete)
    axes.step(trials, np.where(np.isinf(best), np.nan, best), where="post", color=ACCENT, label="best so far")
    axes.plot(trials[~stopped], values[~stopped], "o", color=INK, mfc="white", ms=5, label="trial")
    if stopped.any():
        axes.plot(trials[stopped], values[stopped], "x", color=SOFT, ms=5, label="stopped early")
    winner = int((np.argmin if less else np.argmax)(complete))
    axes.plot(trials[winner], values[winner], "*", color=WARM, ms=13, label=f"best: {values[winner]:.4f}")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{data['name']} ({'less' if less else 'more'} is better)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(**{**ABOVE, "ncols": 4})


def hyperparameters(figure: Any, data: dict[str, Any]) -> None:
    """Draw the fitted objective `name` along each hyperparameter; `lines` as in `ci.results.training.Line`."""
    lines = sorted(data["lines"], key=lambda line: -line["importance"])
    across = min(3, len(lines))
    down = -(-len(lines) // across)
    figure.set_size_inches(WIDTH, 0.4 + 1.9 * down)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axes, line in zip(panels, lines, strict=False):
        units = np.array(line["units"])
        if len(units) > 8:
            axes.fill_between(units, line["low"], line["high"], color=ACCENT, alpha=0.2, lw=0)
            axes.plot(units, line["mean"], color=ACCENT)
        else:
            spread = np.abs(np.array([line["low"], line["high"]]) - line["mean"])
            axes.errorbar(units, line["mean"], yerr=spread, fmt="s", color=ACCENT, ms=4, elinewidth=1.4, capsize=2.5)
        seen = np.array(line["trials"]).reshape(-1, 2)
        axes.plot(seen[:, 0], seen[:, 1], "o", color=INK, mfc="white", ms=3.5)
        shown = np.unique(np.linspace(0, len(units) - 1, min(len(units), 3)).astype(int))
        axes.set_xticks(units[shown], [literal(line["labels"][place]) for place in shown])
        axes.set_title(f"{literal(line['name'])}: {line['importance']:.0%}")
    # One trial far off must not press all others into a line.
    seen = np.array([value for line in lines for _, value in line["trials"]])
    low, high = np.percentile(seen, [0, 100])
    near = np.percentile(seen, 25), np.percentile(seen, 75)
    reach = 4 * (near[1] - near[0]) or 1.0
    margin = 0.05 * (min(high, near[1] + reach) - max(low, near[0] - reach)) or 0.1
    panels[0].set_ylim(max(low, near[0] - reach) - margin, min(high, near[1] + reach) + margin)
    for axes in panels[len(lines) :]:
        axes.set_visible(False)
    figure.supylabel(data["name"], fontsize=8.5)


def training(figure: Any, data: dict[str, Any]) -> None:
    """Draw each value that Keras logged by epoch, for training and validation rows; `history`, `best_epoch`."""
    names = [name for name in data["history"] if not name.startswith("val_")]
    names = sorted(names, key=lambda name: name != "loss")[:2]
    figure.set_size_inches(WIDTH, 3.0)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for key, style, label in ((name, "-o", "training"), (f"val_{name}", "--s", "validation")):
            logged = data["history"].get(key, [])
            values = [np.nan if value is None else value for value in logged]
            colour = ACCENT if key == name else WARM
            axes.plot(range(1, len(values) + 1), values, style, color=colour, ms=4, mfc="white", label=label)
        axes.axvline(data["best_epoch"], color=SOFT, ls=":", lw=1.3, label="kept epoch")
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name}{' (nats)' if name == 'loss' and data['binary'] else ''}")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)


def roc(figure: Any, data: dict[str, Any]) -> None:
    """Draw the ROC curves of challenger and champion; `file` holds the predictions, `target` names the outcome."""
    figure.set_size_inches(WIDTH, 4.2)
    axes = figure.add_subplot()
    for name, targets, predictions, style in _scored(data):
        false, true = _roc_curve(targets > 0.5, predictions)
        axes.plot(false, true, label=f"{name}, AUC {np.trapezoid(true, false):.3f}", **style)
    axes.plot([0, 1], [0, 1], color=SOFT, ls=":", lw=1, label="chance, AUC 0.500")
    axes.set(xlabel="false positive rate (share)", ylabel="true positive rate (share)", aspect="equal", anchor="W")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(loc="lower right")


def _roc_curve(positive: Any, predictions: Any) -> tuple[Any, Any]:
    """Return both rates at every threshold, thinned to a few hundred points; ties share a threshold."""
    order = np.argsort(-predictions, kind="stable")
    last = np.append(np.flatnonzero(np.diff(predictions[order])), len(order) - 1)
    hits = np.cumsum(positive[order])[last]
    true = np.append(0, hits) / max(positive.sum(), 1)
    false = np.append(0, last + 1 - hits) / max((~positive).sum(), 1)
    keep = np.unique(np.linspace(0, len(true) - 1, min(400, len(true))).astype(int))
    return false[keep], true[keep]


def calibration(figure: Any, data: dict[str, Any]) -> None:
    """Draw mean outcome against mean prediction in ten bins of equal mass; data as for `roc`."""
    figure.set_size_inches(WIDTH, 4.2)
    axes = figure.add_subplot()
    ends = []
    for name, targets, predictions, style in _scored(data):
        bins = np.array_split(np.argsort(predictions, kind="stable"), min(10, len(predictions)))
        said = [predictions[rows].mean() for rows in bins]
        seen = [targets[rows].mean() for rows in bins]
        axes.plot(
            said, seen, "o" if name == "challenger" else "s", mfc="white", ms=5, label=name, **{"ls": "-", **style}
        )
        ends += [*said, *seen]
    low, high = min(0.0, *ends), max(0.0, *ends)
    limits = (low, high + (0.05 * (high - low) or 1.0))
    axes.plot(limits, limits, color=SOFT, ls=":", lw=1, label="perfect")
    unit = "probability" if data["binary"] else f"unit of {data['target']}"
    axes.set(
        xlabel=f"mean prediction ({unit})", ylabel=f"mean of {data['target']} ({unit})", aspect="equal", anchor="W"
    )
    axes.set(xlim=limits, ylim=limits)
    axes.legend(loc="upper left")


def residuals(figure: Any, data: dict[str, Any]) -> None:
    """Draw how far predictions are from the outcome; data as for `roc`."""
    axes = figure.add_subplot()
    for name, targets, predictions, style in _scored(data):
        errors = predictions - targets
        low, high = errors.min(), errors.max()
        room = 0.5 + 1e-6 * np.abs(errors).max() if high - low <= 1e-9 * np.abs(errors).max() else 0.0
        axes.hist(errors, bins=40, range=(low - room, high + room), histtype="step", lw=1.5, label=name, **style)
    axes.axvline(0, color=SOFT, ls=":", lw=1, label="no error")
    axes.set(xlabel=f"prediction minus outcome (unit of {data['target']})", ylabel="rows")
    axes.legend()


def _scored(data: dict[str, Any]) -> list[tuple[str, Any, Any, dict[str, str]]]:
    """Return name, outcomes, predictions and line style of the models in a file of predictions."""
    import pyarrow.parquet

    path = Path(data["file"])
    try:
        file = pyarrow.parquet.ParquetFile(path)
        known = file.schema_arrow.names
        if missing := [name for name in ("outcome", "challenger") if name not in known]:
            raise stages.damaged(path, f"no column {', '.join(missing)}")
        names = ["outcome", "challenger", *(["champion"] if "champion" in known else [])]
        # By way of lists, because to_numpy imports pandas, which takes longer than the whole picture.
        columns = {
            name: np.array(column.to_pylist(), dtype=float)
            for name, column in zip(names, file.read(names).columns, strict=True)
        }
    except (OSError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise stages.damaged(path, f"not a whole Parquet file of numbers ({error})") from None
    # A champion whose predictions are no numbers is not drawn.
    styles = {"challenger": {"color": ACCENT}, "champion": {"color": WARM, "ls": "--"}}
    shown = [name for name in names[1:] if np.isfinite(columns[name]).all()]
    return [(name, columns["outcome"], columns[name], styles[name]) for name in shown]


def slices(figure: Any, data: dict[str, Any]) -> None:
    """Draw the metric of every slice with its interval, and the gain over the champion where there is one."""
    rows = data["slices"]
    figure.set_size_inches(WIDTH, 1.1 + 0.19 * len(rows))
    compared = any(row["gain"] is not None for row in rows)
    panels = figure.subplots(1, 2 if compared else 1, sharey=True, width_ratios=[3, 2] if compared else [1])
    axes = np.atleast_1d(panels)
    places = np.arange(len(rows))
    values = np.array([row["value"] for row in rows])
    spread = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - values)
    if data["overall"] is not None:
        axes[0].axvline(data["overall"], color=SOFT, ls="--", lw=1.1, label=f"all rows: {data['overall']:.3f}")
    axes[0].errorbar(
        values, places, xerr=spread, fmt="o", color=INK, ecolor=ACCENT, mfc="white", ms=4.5, elinewidth=1.4
    )
    axes[0].set_yticks(places, [f"{literal(row['name'])}  ({row['rows']:,})" for row in rows], fontsize=8, color=INK)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    axes[0].set_xlabel(f"{data['metric']} with 95 % interval")
    if data["overall"] is not None:
        axes[0].legend(**ABOVE)
    if compared:
        for place, row in zip(places, rows, strict=True):
            if row["gain"] is not None:
                axes[1].plot(
                    row["gain"], place, "X" if row["worse"] else "o", color=WARM if row["worse"] else INK, ms=5
                )
        axes[1].axvline(0, color=SOFT, lw=1)
        axes[1].axvline(-data["margin"], color=WARM, ls=":", lw=1.3, label=f"margin {-data['margin']:g}")
        axes[1].set_xlabel("gain over the champion\n(× is worse beyond chance)")
        axes[1].legend(**ABOVE)


def drift(figure: Any, data: dict[str, Any]) -> None:
    """Draw every column's population stability index against the two thresholds, on a logarithmic axis."""
    rows = data["columns"]
    figure.set_size_inches(WIDTH, 1.25 + 0.23 * len(rows))
    axes = figure.add_subplot()
    floor = 1e-3
    for place, row in enumerate(rows):
        value = max(row["psi"], floor)
        solid = row["verdict"] == "drifted"
        axes.plot([floor, value], [place, place], color=INK if solid else SOFT, lw=2.2 if solid else 1)
        marker = _MARKERS[row["verdict"]]
        axes.plot(value, place, marker, color=INK, mfc=INK if solid else "white", ms=6)
        axes.annotate(f"{row['psi']:.3f}", (value, place), (8, 0), textcoords="offset points", va="center", fontsize=8)
    for key, style in (("warn", ":"), ("drift", "--")):
        axes.axvline(data[key], color=WARM, ls=style, lw=1.3, label=f"{_THRESHOLDS[key]} {data[key]:g}")
    for word in dict.fromkeys(row["verdict"] for row in rows):
        filled = INK if word == "drifted" else "white"
        axes.plot([], [], _MARKERS[word], color=INK, mfc=filled, label=word)
    axes.set_yticks(range(len(rows)), [literal(row["name"]) for row in rows], color=INK)
    axes.set(xscale="log", ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlim(floor, 3 * max(data["drift"], *(row["psi"] for row in rows)))
    axes.grid(axis="y", visible=False)
    axes.set_xticks([at for at in (0.001, 0.01, 0.1, 1, 10) if at < axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("population stability index (nats, logarithmic)")
    axes.legend(**ABOVE)


_THRESHOLDS = {"warn": "shifted from", "drift": "drifted from"}


def confusion(figure: Any, data: dict[str, Any]) -> None:
    """Draw how many rows of each class (`names`, from the top) were answered with which (from the left): `counts`."""
    import numpy as np

    counts, names = np.array(data["counts"]), [literal(name) for name in data["names"]]
    size = len(names)
    figure.set_size_inches(min(WIDTH, 2.2 + 0.45 * size), 1.6 + 0.4 * size)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row in range(size):
        for column in range(size):
            share = shares[row, column]
            axes.add_patch(_square(column, row, str(1 - 0.75 * share)))
            if counts[row, column] and size <= 20:
                ink = "white" if share > 0.6 else INK
                said = str(counts[row, column])
                axes.text(column, row, said, ha="center", va="center", fontsize=7.5, color=ink)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="answered", ylabel="is")
    axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(size), names)
    axes.grid(visible=False)


def _square(column: int, row: int, shade: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=0.8)


def trend(figure: Any, data: dict[str, Any]) -> None:
    """Draw the primary metric of the last builds with its interval, marked by verdict."""
    axes = figure.add_subplot()
    builds = data["builds"]
    places = np.arange(len(builds))
    values = np.array([build["value"] for build in builds])
    spread = np.abs(np.array([[build["low"], build["high"]] for build in builds]).T - values)
    axes.errorbar(places, values, yerr=spread, fmt="none", ecolor=ACCENT, elinewidth=1.4, capsize=2.5)
    axes.plot(places, values, color=FAINT, zorder=1)
    for verdict, marker in _VERDICTS.items():
        here = [place for place, build in enumerate(builds) if build["verdict"] == verdict]
        if here:
            filled = "white" if verdict == "keep" else INK
            axes.plot(here, values[here], marker, ls="none", color=INK, mfc=filled, ms=7, label=verdict)
    axes.set_xticks(places, [build["as_of"] for build in builds], rotation=40, ha="right", rotation_mode="anchor")
    axes.margins(x=0.08)
    axes.set(xlabel="build, by its as_of", ylabel=f"{data['metric']} with 95 % interval")
    axes.legend(**ABOVE)
