"""A year of orders, drawn with a seed: quiet months, a gradual change, and an abrupt one.

The logit of a return is -1.2 + d · discount + p · price + its region's effect + its day's (deviation 0.3).

| Days | d | p | orders from the north |
|---|---|---|---|
| January to May: quiet | 1 | 0.9 | 10 % |
| June to August: discounts gradually stop to matter, and then turn | from 1 to -0.6, each day a little | 0.9 | 10 % |
| September to 14 October: quiet | -0.6 | 0.9 | 10 % |
| from 15 October: overnight it is the cheap that comes back; from the next day on all is quiet | -0.6 | -0.9 | 40 % |
"""

from pathlib import Path

import numpy as np
import pandas as pd

FIRST, DAYS, ORDERS = pd.Timestamp("2013-01-01"), 365, 150
GRADUAL = pd.Timestamp("2013-06-01"), pd.Timestamp("2013-09-01")
ABRUPT = pd.Timestamp("2013-10-15")
REGIONS = {"north": 0.4, "east": 0.0, "south": -0.3, "west": 0.1}
SEED = 20130


def load(source: Path | None) -> pd.DataFrame:
    """Return the orders, the oldest first.

    Args:
        source: the folder of orders whose outcomes have come (`labels.into`): they follow the generated ones before
            them. None: the generated year.
    """
    table = pd.concat([_day(number) for number in range(DAYS)], ignore_index=True)
    if source is None:
        return table
    labelled = pd.concat([pd.read_parquet(path) for path in sorted(source.glob("*.parquet"))], ignore_index=True)
    before = table[table["day"] < labelled["day"].min()]
    return pd.concat([before, labelled[table.columns]], ignore_index=True).astype(table.dtypes)


def _day(number: int) -> pd.DataFrame:
    chance, day = np.random.default_rng([SEED, number]), FIRST + pd.Timedelta(days=number)
    begin, end = GRADUAL
    passed = float(np.clip((day - begin) / (end - begin), 0.0, 1.0))
    north = 0.4 if day >= ABRUPT else 0.1
    price, discount, weight = chance.normal(size=(3, ORDERS))
    region = chance.choice(list(REGIONS), ORDERS, p=[north, *[(1 - north) / 3] * 3])
    logit = -1.2 + (1.0 - 1.6 * passed) * discount + (-0.9 if day >= ABRUPT else 0.9) * price
    logit += np.array([REGIONS[name] for name in region]) + chance.normal(scale=0.3)
    returned = chance.uniform(size=ORDERS) < 1 / (1 + np.exp(-logit))
    fields = {"price": price, "discount": discount, "weight": weight, "region": region}
    return pd.DataFrame({"day": day, **fields, "weekday": day.day_of_week, "returned": returned.astype("float64")})
