import importlib.util
import sys
from pathlib import Path

# The made-up spaces lie beside the tests, which are no package: import them by path, once.
_spec = importlib.util.spec_from_file_location("predictor_cells", Path(__file__).with_name("cells.py"))
predictor_cells = importlib.util.module_from_spec(_spec)
sys.modules["predictor_cells"] = predictor_cells
_spec.loader.exec_module(predictor_cells)
