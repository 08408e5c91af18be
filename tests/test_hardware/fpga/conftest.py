import importlib.util
import sys
from pathlib import Path

# The networks lie beside the tests, which are no package: import them by path, once.
_spec = importlib.util.spec_from_file_location("hotnas_networks", Path(__file__).with_name("hotnas_networks.py"))
hotnas_networks = importlib.util.module_from_spec(_spec)
sys.modules["hotnas_networks"] = hotnas_networks
_spec.loader.exec_module(hotnas_networks)
