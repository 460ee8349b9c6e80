"""The console program ``ddl-lab``: the same tasks as ``invoke``, found without a ``tasks.py``."""

from __future__ import annotations

import sys

from lab.cli.signals import end_quietly
from lab.cli.streams import ensure_streams, output_lost, settle_streams


def main() -> None:
    """Run ``ddl-lab``."""
    end_quietly()
    ensure_streams()
    # Only now, so that Ctrl-C while these are loaded shows no traceback either.
    import lab
    from lab.cli.front import LabProgram
    from lab.cli.namespace import namespace

    program = LabProgram(
        version=lab.__version__, namespace=namespace, name="ddl-lab", binary="ddl-lab"
    )
    try:
        program.run()
    except BrokenPipeError:
        pass  # whoever read the list of tasks has seen enough
    except OSError as error:
        lost = output_lost(error)
        print(f"error: {lost} {lost.why}", file=sys.stderr)
        sys.exit(lost.exit_code)
    finally:
        settle_streams()
