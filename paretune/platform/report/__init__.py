"""The report: one self-contained HTML page about a study, written from its ledger alone."""

from paretune.platform.report.page import write_figures, write_report

__all__ = ["write_figures", "write_report"]
