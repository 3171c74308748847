"""A study as one file: exported, and imported elsewhere."""

from sweeps.care.archive.export import Exported, export_study
from sweeps.care.archive.restore import MAX_BYTES, Imported, import_study

__all__ = ["MAX_BYTES", "Exported", "Imported", "export_study", "import_study"]
