"""Write the report of a run, also while it trains."""

from dakpn import storage
from dakpn.report import render_report
from dakpn.report.run_page import ReportInputs, gather_report


def main(inputs: ReportInputs, output: str) -> str:
    """Render the report to `output` (a URI of an HTML file) and return that URI.

    Raises:
        UsageError: `inputs.run` is not a training run.
    """
    storage.write_bytes(output, render_report(gather_report(inputs)).encode())
    return output


if __name__ == "__main__":
    from workflows import as_command

    as_command("report")
