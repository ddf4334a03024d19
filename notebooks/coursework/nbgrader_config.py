"""Settings of nbgrader for this coursework: copy this file into the folder of the course."""

from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, DeduplicateIds, OverwriteCells, OverwriteKernelspec


class WithoutCopies(DeduplicateIds):
    """Takes the mark off a cell that a student has copied: nbgrader 0.9.6 leaves it empty, and then stops at it."""

    def preprocess(self, nb, resources):
        nb, resources = super().preprocess(nb, resources)
        for cell in nb.cells:
            if cell.metadata.get("nbgrader") == {}:
                del cell.metadata["nbgrader"]
        return nb, resources


c = get_config()  # noqa: F821, of nbgrader
c.ExecutePreprocessor.timeout = 1800  # seconds of a cell, in place of 30
c.ExecutePreprocessor.iopub_timeout = 60  # seconds of its output, in place of 4
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    WithoutCopies,
    OverwriteKernelspec,
    OverwriteCells,
    CheckCellMetadata,
]
