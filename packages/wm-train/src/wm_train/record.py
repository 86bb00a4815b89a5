"""A run's manifest while it runs: every change is on the disk before the next thing happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wm_manifest import (
    Attempt,
    Checkpoint,
    DatasetManifest,
    DatasetUse,
    EvalReport,
    Evaluation,
    RunManifest,
    Stack,
    save,
)
from wm_train import processes, stack
from wm_train.checkpoints import found, step_of
from wm_train.provenance import sha256, utc_now
from wm_train.redact import redact_fields


class RunRecord:
    """Holds the newest `RunManifest` of a run folder and writes each version of it atomically.

    No secret gets in, whichever field brings it.
    """

    def __init__(self, run_dir: Path, manifest: RunManifest) -> None:
        self.folder = run_dir
        self._path = run_dir / "manifest.json"
        self.manifest = self._write(manifest)

    def update(self, **fields: Any) -> None:
        """Replace fields; their types are checked, as if the manifest were read back."""
        known = {name: getattr(self.manifest, name) for name in RunManifest.model_fields}
        self.manifest = self._write(RunManifest.model_validate(known | fields))

    def share(self) -> None:
        """Give every process the main one's manifest."""
        self.manifest = processes.share(self.manifest)

    def _write(self, manifest: RunManifest) -> RunManifest:
        fields = json.loads(manifest.model_dump_json())
        if (clean := redact_fields(fields)) != fields:
            manifest = RunManifest.model_validate_json(json.dumps(clean))
        save(manifest, self._path)
        return manifest

    def resume(self, checkpoint_step: int, here: Stack | None = None) -> None:
        """Close an attempt that could not say how it ended, and begin another, on `here`."""
        if self.manifest.attempts and self.manifest.attempts[-1].ended_at is None:
            update = {"outcome": "killed", "cause": "killed"}
            last = self.manifest.attempts[-1].model_copy(update=update)
            self.update(attempts=[*self.manifest.attempts[:-1], last])
        machines = stack.machines(self.manifest) + ([here.hardware] if here else [])
        moved = here is not None and stack.changed(self.manifest, here)
        if moved or any(machine.devices for machine in machines):
            # Neither an accelerator nor other software repeats its steps bit for bit: these were
            # of other weights.
            kept = [e for e in self.manifest.evaluations if e.step <= checkpoint_step]
            self.update(evaluations=kept)
        self.checkpoints()
        self.start(checkpoint_step, here)

    def start(self, from_step: int = 0, here: Stack | None = None) -> None:
        first = not self.manifest.attempts  # on what the manifest says of the run
        attempt = Attempt(started_at=utc_now(), from_step=from_step, stack=None if first else here)
        self.update(status="running", attempts=[*self.manifest.attempts, attempt])

    def end(self, status: str, cause: str) -> None:
        """Close the newest attempt with what ended it."""
        update = {"ended_at": utc_now(), "outcome": status, "cause": cause}
        last = self.manifest.attempts[-1].model_copy(update=update)
        self.update(status=status, attempts=[*self.manifest.attempts[:-1], last])

    def evaluated(self, report: EvalReport) -> None:
        """Add an evaluation; controls and samples are always those of the newest."""
        assert report.step is not None, "an evaluation inside training has its step"
        entry = Evaluation(
            step=report.step,
            path=f"eval/step-{report.step:06d}",
            valid=report.valid,
            figures=report.figures,
            split=report.split,
            templates={template.id: template.sha256 for template in report.templates},
        )
        self.update(
            evaluations=[*self.manifest.evaluations, entry],
            decoding=report.decoding,
            controls=report.controls,
            samples=report.samples,
        )

    def has(self, path: str) -> bool:
        """Whether something stands at `path` in the run's folder."""
        return (self.folder / path).exists()

    def checkpoints(self) -> None:
        """Note the checkpoints that are on the disk now."""
        best = self.manifest.best
        self.update(
            best=best if best and self.has(best.path) else None,
            checkpoints=[
                Checkpoint(step=step_of(folder), path=folder.relative_to(self.folder).as_posix())
                for folder in found(self.folder / "checkpoints")
            ],
        )


def dataset_use(manifest: DatasetManifest, folder: Path, run_dir: Path) -> DatasetUse:
    """What a run keeps of its dataset's own manifest."""
    return DatasetUse(
        name=manifest.name,
        path=folder.relative_to(run_dir).as_posix(),
        manifest_sha256=sha256(folder / "manifest.json"),
        recipe=manifest.recipe,
        seed=manifest.seed,
        limit=manifest.limit,
        on_bad_row=manifest.on_bad_row,
        sources=manifest.sources,
        splits=manifest.splits,
        dropped=manifest.dropped,
    )
