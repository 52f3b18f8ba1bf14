"""``python -m p2u_cli`` does what ``p2u`` does."""

import sys

from p2u_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
