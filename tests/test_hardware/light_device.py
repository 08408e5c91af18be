"""`paretune device serve` in a Python that has NumPy and ONNX Runtime and nothing else: light_device.py [OPTIONS OF SERVE]."""

import sys
from importlib.abc import MetaPathFinder

ALLOWED = {"paretune", "numpy", "onnxruntime", *sys.stdlib_module_names}
BROUGHT = {"google", "flatbuffers", "packaging"}
"""What ONNX Runtime itself requires."""


class NothingElse(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] not in ALLOWED | BROUGHT:
            raise ModuleNotFoundError(f"not installed on this device: {fullname}", name=fullname)


sys.meta_path.insert(0, NothingElse())
sys.argv = ["paretune", "device", "serve", *sys.argv[1:]]

from paretune.__main__ import main  # noqa: E402 - only now are imports watched

main()
