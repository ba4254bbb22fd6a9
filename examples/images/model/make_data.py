"""Write scikit-learn's handwritten digits as PNG files: python model/make_data.py [FOLDER]."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits


def write(folder):
    """Write a picture of 8 x 8 grey points for each digit, and labels.csv with file and digit."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    names = [f"{number:04d}.png" for number in range(len(digits.images))]
    for name, image in zip(names, digits.images, strict=True):
        Image.fromarray((image * 15).astype(np.uint8), mode="L").save(folder / name)
    pd.DataFrame({"image": names, "digit": digits.target}).to_csv(folder / "labels.csv", index=False)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "data/digits"))
