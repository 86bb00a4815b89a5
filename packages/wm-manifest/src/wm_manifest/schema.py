"""JSON schemas of the four manifests. Checks no manifest against them: `load` does, by the records.

`python -m wm_manifest.schema` writes the files in `schemas/` anew, or into a folder named after it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from wm_manifest.dataset import DatasetManifest
from wm_manifest.evaluation import EvalReport
from wm_manifest.record import Record
from wm_manifest.release import ReleaseManifest
from wm_manifest.run import RunManifest
from wm_manifest.store import IDENTITY

FOLDER = Path(__file__).parent / "schemas"
RECORDS: dict[str, type[Record]] = {
    "dataset": DatasetManifest,
    "run": RunManifest,
    "evaluation": EvalReport,
    "release": ReleaseManifest,
}


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON schema of each kind of manifest, as a file may be, not only as `save` writes it.

    >>> schemas()["release"]["properties"]["kind"]["const"]
    'release'
    """
    return {kind: _schema(record) for kind, record in RECORDS.items()}


def texts() -> dict[str, str]:
    """File name and content of each schema file."""
    return {
        f"{kind}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for kind, schema in schemas().items()
    }


def _schema(record: type[Record]) -> dict[str, Any]:
    schema = record.model_json_schema()
    required = [*IDENTITY, *schema["required"]]  # `load` asks for them too
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema} | {
        "required": required
    }


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
        print(folder / name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
