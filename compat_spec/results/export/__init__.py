"""Results as files for other tools: Parquet, CSV, JSON lines, or a database of DuckDB."""

from compat_spec.results.export.exporting import Exported, Kind, export

__all__ = ["Exported", "Kind", "export"]
