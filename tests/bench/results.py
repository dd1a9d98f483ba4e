"""Results as they are kept in the repository: one JSON file of each kind, small and rounded."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "results"
KINDS = ("bench", "million", "continuity")
DIGITS = 4


def rounded(value):
    """Numbers to four digits, in whatever they stand."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {str(key): rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return value


def path_of(folder, kind):
    return Path(folder) / f"{kind}.json"


def load(folder, kind):
    """The kept result; None if there is none."""
    path = path_of(folder, kind)
    return json.loads(path.read_text(encoding="ascii")) if path.exists() else None


def keep(folder, kind, result):
    Path(folder).mkdir(parents=True, exist_ok=True)
    text = json.dumps(rounded(result), indent=1, sort_keys=True) + "\n"
    path_of(folder, kind).write_text(text, encoding="ascii")
