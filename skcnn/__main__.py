"""``python -m skcnn``: training and prediction from the shell."""

import sys

from skcnn.command import main

sys.exit(main())
