"""Run an exported network without paretune, here on scikit-learn's digits.

python use_network.py runs/digits/networks/01-candidate-37
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
session = onnxruntime.InferenceSession(folder / "network.onnx")
how = json.loads((folder / "network.json").read_text())["metadata"]["preprocessing"]  # white, mean and deviation of the pixels

pixels, labels = load_digits(return_X_y=True)
images = pixels.reshape(-1, 1, 8, 8)  # any number of images, channels, height, width
inputs = ((images / how["white"] - how["mean"]) / how["deviation"]).astype(np.float32)
(logits,) = session.run(None, {"input": inputs})
print(f"{100 * np.mean(logits.argmax(axis=1) == labels):.1f} % of all digits, those it was trained on among them")
