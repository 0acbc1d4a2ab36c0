"""The verbs of deployment as the command line runs them: call, then print."""

import json

from mixtransfer.deploy.options import ExportOptions


def export(options: ExportOptions) -> int:
    from mixtransfer.deploy.export import export as export_run

    written = export_run(options)
    if options.json:
        print(json.dumps(written.to_dict(), ensure_ascii=False))
        return 0
    print(written.parity)
    print(f"Export:  {written.path} ({written.size / 1e6:.1f} MB)")
    return 0
